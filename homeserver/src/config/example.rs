//! `config.example.toml`, made from the documentation of the options.

use super::{
    Database, DelayedEvents, Email, Federation, Http, Listener, Logging, Media, Metrics, Passwords, Presence,
    Push, RateLimits, Registration, Rooms, Rtc, Server, ServerNotices, Signing, Turn, UrlPreviews,
    UserDirectory, WellKnown,
    section::{OptionDoc, Section},
};

const HEAD: &str = "\
# The configuration of Kith.
#
# Every option is shown with its default, behind a `#`; remove that to set the option. An unknown key is an error.
# Each option can also be set in the environment, as KITH_SECTION__KEY: KITH_SERVER__NAME=example.org. Lists and tables
# are written there as TOML: KITH_LISTENERS='[{ bind = \"0.0.0.0:8008\" }]'.
#
# This text is made by `kith generate-config`.
";

/// The example file: every section and option, with its documentation and default.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    write_section::<Server>(&mut text, "[server]");
    write_section::<Listener>(&mut text, "[[listeners]]");
    write_section::<Http>(&mut text, "[http]");
    write_section::<Database>(&mut text, "[database]");
    write_section::<Registration>(&mut text, "[registration]");
    write_section::<Passwords>(&mut text, "[passwords]");
    write_section::<Rooms>(&mut text, "[rooms]");
    write_section::<Presence>(&mut text, "[presence]");
    write_section::<UserDirectory>(&mut text, "[user_directory]");
    write_section::<ServerNotices>(&mut text, "[server_notices]");
    write_section::<RateLimits>(&mut text, "[rate_limits]");
    write_section::<Media>(&mut text, "[media]");
    write_section::<UrlPreviews>(&mut text, "[url_previews]");
    write_section::<Federation>(&mut text, "[federation]");
    write_section::<WellKnown>(&mut text, "[well_known]");
    write_section::<Turn>(&mut text, "[turn]");
    write_section::<Rtc>(&mut text, "[rtc]");
    write_section::<DelayedEvents>(&mut text, "[delayed_events]");
    write_section::<Email>(&mut text, "[email]");
    write_section::<Push>(&mut text, "[push]");
    write_section::<Signing>(&mut text, "[signing]");
    write_section::<Logging>(&mut text, "[logging]");
    write_section::<Metrics>(&mut text, "[metrics]");
    text
}

fn write_section<S: Section>(text: &mut String, header: &str) {
    text.push('\n');
    write_comment(text, S::DOC);
    text.push_str(header);
    text.push('\n');
    for option in S::options() {
        text.push('\n');
        write_option(text, &option);
    }
}

fn write_option(text: &mut String, option: &OptionDoc) {
    write_comment(text, option.doc);
    let OptionDoc { key, example, default, .. } = option;
    if let Some(example) = example {
        text.extend(["# Example: ", key, " = ", example, "\n"]);
    }
    match default {
        Some(value) => text.extend(["#", key, " = ", &value.to_string(), "\n"]),
        None => text.extend(["# Unset by default: ", key, "\n"]),
    }
}

fn write_comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        text.push('#');
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
