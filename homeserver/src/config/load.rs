//! Reading the configuration.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Config, Invalid, environment};

/// The file that is read when none is named, if it exists in the working directory.
const DEFAULT_FILE: &str = "kith.toml";

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Nowhere: the defaults.
    Defaults,
}

impl Source {
    /// The file that was named, or the one in the working directory, or none.
    pub fn find(named: Option<PathBuf>) -> Self {
        match named {
            Some(file) => Self::File(file),
            None if Path::new(DEFAULT_FILE).exists() => Self::File(PathBuf::from(DEFAULT_FILE)),
            None => Self::Defaults,
        }
    }

    fn read(&self) -> Result<String, ConfigError> {
        let Self::File(file) = self else { return Ok(String::new()) };
        fs::read_to_string(file).map_err(|error| ConfigError::Read { file: file.clone(), error })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Defaults => f.write_str("defaults (no configuration file)"),
        }
    }
}

/// Why there is no configuration to work with. The texts are for operators: they name the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}; name an existing file with --config, or make one with `kith generate-config`", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file is not TOML, or has a key or a type that does not exist.
    #[error("{origin}: {}\nEvery key is explained by `kith generate-config`.", .error.to_string().trim_end())]
    Parse {
        /// The file.
        origin: Source,
        /// Line, column and reason.
        error: Box<toml::de::Error>,
    },
    /// A variable of the environment does not name a key, or does not fit it.
    #[error("environment variable {variable}: {problem}. Every key is explained by `kith generate-config`.")]
    Environment {
        /// The variable.
        variable: String,
        /// Why not.
        problem: String,
    },
    /// A value cannot be used.
    #[error("{origin}: {key}: {problem}; {remedy}")]
    Invalid {
        /// The file, or the variable of the environment.
        origin: String,
        /// Section and key.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
}

impl Config {
    /// Reads the configuration from `source` and overrides it by the variables of `environment` that begin with
    /// `KITH_`.
    pub fn load(
        source: &Source,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = source.read()?;
        Self::from_parts(source, &text, &environment::overrides(environment))
    }

    fn from_parts(
        source: &Source,
        text: &str,
        overrides: &[environment::Override],
    ) -> Result<Self, ConfigError> {
        let parse_error = |error| ConfigError::Parse { origin: source.clone(), error: Box::new(error) };
        // Read as it stands first: only then do errors know the line.
        let mut config: Self = toml::from_str(text).map_err(parse_error)?;
        let mut table: toml::Table = toml::from_str(text).map_err(parse_error)?;
        for change in overrides {
            change.apply(&mut table)?;
            config = Self::deserialize(table.clone()).map_err(|error| ConfigError::Environment {
                variable: change.variable.clone(),
                problem: error.message().to_owned(),
            })?;
        }
        config.validate().map_err(|(section, invalid)| {
            let key = format!("{section}.{}", invalid.key);
            let origin = match overrides.iter().find(|change| change.sets(&key)) {
                Some(change) => format!("environment variable {}", change.variable),
                None => source.to_string(),
            };
            ConfigError::Invalid { origin, key, problem: invalid.problem, remedy: invalid.remedy }
        })?;
        Ok(config)
    }

    /// Checks the sections, and names the first that is wrong.
    fn validate(&mut self) -> Result<(), (String, Invalid)> {
        fn within(section: &str) -> impl FnOnce(Invalid) -> (String, Invalid) {
            move |invalid| (section.to_owned(), invalid)
        }
        self.server.validate().map_err(within("server"))?;
        if self.listeners.is_empty() {
            let problem = "the server would listen nowhere";
            let invalid = Invalid::new("bind", problem, "add a [[listeners]] section with a bind");
            return Err(within("listeners")(invalid));
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            listener.validate().map_err(within(&format!("listeners[{index}]")))?;
        }
        self.http.validate().map_err(within("http"))?;
        self.database.validate().map_err(within("database"))?;
        self.registration.validate().map_err(within("registration"))?;
        self.passwords.validate().map_err(within("passwords"))?;
        self.rooms.validate().map_err(within("rooms"))?;
        self.turn.validate().map_err(within("turn"))?;
        self.rtc.validate().map_err(within("rtc"))?;
        self.media.validate().map_err(within("media"))?;
        self.url_previews.validate().map_err(within("url_previews"))?;
        self.federation.validate().map_err(within("federation"))?;
        self.well_known.validate().map_err(within("well_known"))?;
        self.delayed_events.validate().map_err(within("delayed_events"))?;
        self.email.validate().map_err(within("email"))?;
        self.rate_limits.validate().map_err(within("rate_limits"))?;
        self.signing.validate().map_err(within("signing"))?;
        self.logging.validate().map_err(within("logging"))?;
        Ok(())
    }
}
