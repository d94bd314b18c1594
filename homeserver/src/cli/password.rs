//! Asking for a password without showing it.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, bail, ensure};
use rand::RngExt;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Asks twice on a terminal. Where there is none, takes the first line of the input.
pub(super) fn read() -> anyhow::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let line = read_line(&mut stdin.lock())?;
        ensure!(!line.is_empty(), "no password came in on the standard input");
        return Ok(line);
    }
    let password = prompt("Password: ")?;
    if password != prompt("Again: ")? {
        bail!("the two were not the same");
    }
    Ok(password)
}

/// A password that nobody could guess, for handing over once.
pub(super) fn generate() -> Zeroizing<String> {
    // Without letters and digits that look alike.
    const CHARACTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    const LENGTH: usize = 20;
    let mut rng = rand::rng();
    Zeroizing::new(
        (0..LENGTH).map(|_| char::from(CHARACTERS[rng.random_range(0..CHARACTERS.len())])).collect(),
    )
}

fn prompt(question: &str) -> anyhow::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    let mut stderr = io::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let shown = tcgetattr(&stdin).context("cannot hide the password")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Now, &hidden).context("cannot hide the password")?;
    let line = read_line(&mut stdin.lock());
    let restored = tcsetattr(&stdin, OptionalActions::Now, &shown);
    writeln!(stderr)?;
    restored.context("cannot show what is typed again; run `stty sane`")?;
    line
}

fn read_line(input: &mut impl BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line).context("cannot read the password")?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_not_part_of_the_password() {
        assert_eq!(*read_line(&mut " secret \r\nmore".as_bytes()).unwrap(), " secret ");
    }

    #[test]
    fn generated_passwords_differ() {
        assert_eq!(generate().len(), 20);
        assert_ne!(generate(), generate());
    }
}
