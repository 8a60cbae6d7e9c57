//! Settings in three layers: the commented defaults in the binary, a file, the environment.
//!
//! Deliberately without reloading and without defaults in code: the defaults text lists every
//! setting, so it is the reference as well. Invariants: a key that the defaults do not have is
//! refused, and no error repeats a value, because a value may be a secret.

#[cfg(test)]
mod tests;

mod environment;
mod error;
mod period;
mod rules;
mod shape;

use std::ffi::OsString;
use std::path::Path;

use config::builder::DefaultState;
use config::{Config, ConfigBuilder, File, FileFormat};
use serde::de::DeserializeOwned;

pub use error::{ConfigError, Origin};
pub use period::{Period, PeriodError};
pub use rules::{Rule, SettingsError, is_long_enough};

use shape::Shape;

/// What a service says about its settings.
#[derive(Debug, Clone, Copy)]
pub struct ConfigSpec {
    /// TOML with every setting, its default and a comment. A setting without a default is an empty
    /// string; a table or list that users fill is empty.
    pub defaults: &'static str,
    /// `PLATFORM` for variables like `PLATFORM__PUBLIC__LISTEN`.
    pub env_prefix: &'static str,
}

/// Reads the settings: defaults, then the file, then this process's environment.
pub fn load<T: DeserializeOwned>(spec: &ConfigSpec, file: Option<&Path>) -> Result<T, ConfigError> {
    load_with(spec, file, std::env::vars_os())
}

/// [`load`] with the environment given, for tests and for services that start services.
pub fn load_with<T, K, V>(
    spec: &ConfigSpec,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<T, ConfigError>
where
    T: DeserializeOwned,
    K: Into<OsString>,
    V: Into<OsString>,
{
    let shape = Shape::parse(spec.defaults)?;
    let mut layers = Config::builder().add_source(File::from_str(spec.defaults, FileFormat::Toml));
    if let Some(path) = file {
        layers = add_file(layers, &shape, path)?;
    }
    let environment = environment
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()));
    let overrides = environment::read(spec.env_prefix, &shape, environment)?;
    let origins = overrides.origins();
    let config = layers
        .add_source(overrides)
        .build()
        .map_err(ConfigError::library)?;
    // The library's own words on an enum leave out what it may be; serde's have it.
    let merged: serde_json::Value = config.try_deserialize().map_err(ConfigError::library)?;
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let key = error.path().to_string();
        // `list[0]` was written by who wrote `list`.
        let setting = key.split_once('[').map_or(&*key, |(list, _)| list);
        let origin = match origins.get(setting) {
            Some(variable) => Origin::Variable(variable.clone()),
            None => file.map_or(Origin::Defaults, |path| Origin::File(path.to_owned())),
        };
        ConfigError::value(key, origin, &error.into_inner())
    })
}

/// What `--help` says about settings: how they are given, and all of them.
pub fn settings_help(spec: &ConfigSpec) -> String {
    let prefix = spec.env_prefix;
    format!(
        "SETTINGS\n\
         Settings come from the defaults below, then from the file of --config, then from the\n\
         environment. The variable of `key` in `[section]` is {prefix}__SECTION__KEY; lists are\n\
         separated by commas. {prefix}__SECTION__KEY_FILE=/path takes the value from a file, which\n\
         is the way for secrets. An unknown setting is refused.\n\n{}\n",
        spec.defaults.trim_end()
    )
}

fn add_file(
    layers: ConfigBuilder<DefaultState>,
    shape: &Shape,
    path: &Path,
) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
    let origin = || Origin::File(path.to_owned());
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        origin: origin(),
        cause,
    })?;
    let table = text
        .parse::<toml::Table>()
        .map_err(|error| ConfigError::syntax(origin(), &text, &error))?;
    shape.check(&table, &origin())?;
    Ok(layers.add_source(File::from_str(&text, FileFormat::Toml)))
}
