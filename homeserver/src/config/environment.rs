//! Overriding the configuration by the environment: `KITH_SECTION__KEY`.

use super::{Config, ConfigError};

const PREFIX: &str = "KITH_";
const SEPARATOR: &str = "__";

/// The one key that is no section, so that its variable has no separator.
const LISTENERS: &str = "listeners";

/// One variable of the environment.
#[derive(Clone, Debug)]
pub(super) struct Override {
    pub(super) variable: String,
    path: Vec<String>,
    text: String,
}

/// The variables that override something, in a fixed order. Other variables that begin with `KITH_`, such as
/// `KITH_CONFIG`, have no separator in their name.
pub(super) fn overrides(environment: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut overrides: Vec<Override> = environment
        .into_iter()
        .filter_map(|(variable, text)| {
            let path: Vec<String> =
                variable.strip_prefix(PREFIX)?.to_lowercase().split(SEPARATOR).map(str::to_owned).collect();
            (path.len() > 1 || path == [LISTENERS]).then_some(Override { variable, path, text })
        })
        .collect();
    overrides.sort_by(|a, b| a.path.cmp(&b.path));
    overrides
}

impl Override {
    /// Whether this is the variable for `section.key`.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.path.join(".") == key
    }

    /// Writes the value into `table`. What has text as its default takes the variable as it is; everything else takes
    /// it as TOML.
    pub(super) fn apply(&self, table: &mut toml::Table) -> Result<(), ConfigError> {
        let defaults =
            toml::Value::try_from(Config::default()).map_err(|error| self.error(error.to_string()))?;
        let value = match default_at(&defaults, &self.path) {
            // A key without a default may not exist; then the error is about the key.
            Some(toml::Value::String(_)) => toml::Value::String(self.text.clone()),
            Some(_) => self.parse()?,
            None => self.parse().unwrap_or_else(|_| toml::Value::String(self.text.clone())),
        };
        let (key, sections) = self.path.split_last().expect("a variable names at least one key");
        let mut place = table;
        for (depth, section) in sections.iter().enumerate() {
            // A table inside a section (a rate limit) is only whole with the defaults of its other keys.
            let entry = place.entry(section).or_insert_with(|| {
                let default = default_at(&defaults, &sections[..=depth]).cloned();
                default.unwrap_or_else(|| toml::Value::Table(toml::Table::new()))
            });
            place = entry
                .as_table_mut()
                .ok_or_else(|| self.error(format!("`{section}` has no keys of its own")))?;
        }
        place.insert(key.clone(), value);
        Ok(())
    }

    fn parse(&self) -> Result<toml::Value, ConfigError> {
        let document = format!("value = {}", self.text);
        let parsed: Result<toml::Table, _> = toml::from_str(&document);
        match parsed {
            Ok(mut table) => table.remove("value").ok_or_else(|| self.error("it is empty".to_owned())),
            Err(error) => Err(self.error(format!("`{}` is not TOML: {}", self.text, error.message()))),
        }
    }

    fn error(&self, problem: String) -> ConfigError {
        ConfigError::Environment { variable: self.variable.clone(), problem }
    }
}

/// The default of the key at `path`.
fn default_at<'a>(defaults: &'a toml::Value, path: &[String]) -> Option<&'a toml::Value> {
    path.iter().try_fold(defaults, |value, key| value.get(key.as_str()))
}
