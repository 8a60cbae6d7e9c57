//! Profiles: which server, with which key, and which tenant is meant where none is named.
//!
//! Deliberately one small file, not a keychain: it works on every host that scripts run on.
//! Invariants: a file that others can read or write is refused; it is replaced whole, never edited in
//! place; a key is used for the server that it was kept for and no other.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The name of a profile where none is named.
pub(crate) const DEFAULT: &str = "default";
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// What nobody but the owner may do.
const OTHERS: u32 = 0o077;

/// All that is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profiles {
    /// The one that is used where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) profiles: BTreeMap<String, Profile>,
}

/// One server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// The tenant that is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<contract::TenantId>,
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("url", &self.url)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Where profiles are kept: `TENANTCTL_CONFIG`, else in the user's configuration folder.
pub(crate) fn path() -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = set("TENANTCTL_CONFIG") {
        return Ok(path.into());
    }
    let folder = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".config")));
    folder
        .map(|folder| folder.join("tenantctl/config.toml"))
        .ok_or_else(|| Failure::Usage {
            what: "there is no place for profiles: HOME is not set".to_owned(),
            next: vec!["set TENANTCTL_CONFIG to the path of a file".to_owned()],
        })
}

/// Refuses a file with `secrets` that is not its owner's alone.
///
/// # Errors
/// Others can read or write it.
pub(crate) fn refuse_open(path: &Path, file: &Metadata, secrets: &str) -> Result<(), Failure> {
    let mode = file.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(Failure::Profile {
        what: format!(
            "{} holds {secrets}, and other users can read it (mode {:03o})",
            path.display(),
            mode & 0o777
        ),
        next: vec![
            format!("run `chmod 600 {}`", path.display()),
            format!("replace the {secrets} if somebody may have read them"),
        ],
    })
}

impl Profiles {
    /// What is kept in `path`; nothing where there is no file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Failure::Io("reading the profiles", error)),
        };
        refuse_open(path, &metadata, "keys")?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::Io("reading the profiles", error))?;
        // The parser's own words would show the line, which may be a key.
        toml::from_str(&text).map_err(|_| Failure::Profile {
            what: format!("{} is not a valid profiles file", path.display()),
            next: vec!["fix or remove it, then run `tenantctl login`".to_owned()],
        })
    }

    /// Keeps this in `path`, whole.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error| Failure::Io("writing the profiles", error);
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder)
            .map_err(failed)?;
        let text = toml::to_string(self).map_err(|error| failed(std::io::Error::other(error)))?;
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(FILE_MODE))
            .tempfile_in(folder)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// The name of the profile that is meant.
    pub(crate) fn name<'a>(&'a self, named: Option<&'a str>) -> &'a str {
        named.or(self.current.as_deref()).unwrap_or(DEFAULT)
    }

    /// The profile that is meant.
    ///
    /// # Errors
    /// One is named, and there is none of that name.
    pub(crate) fn get(&self, named: Option<&str>) -> Result<Option<&Profile>, Failure> {
        let name = self.name(named);
        match self.profiles.get(name) {
            None if named.is_some() => Err(self.unknown(name)),
            found => Ok(found),
        }
    }

    /// That there is no profile of this name, with those that there are.
    pub(crate) fn unknown(&self, name: &str) -> Failure {
        let close = self
            .profiles
            .keys()
            .filter(|known| strsim::damerau_levenshtein(known, name) <= 2)
            .map(|known| format!("did you mean {known}?"));
        Failure::Usage {
            what: format!("there is no profile {name}"),
            next: close
                .chain(["list the profiles with `tenantctl profiles`, or create one with `tenantctl login`".to_owned()])
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> Profiles {
        let profile = Profile {
            url: "http://127.0.0.1:8080".to_owned(),
            key: Some("opk_canary".to_owned()),
            tenant: None,
        };
        Profiles {
            current: Some("staging".to_owned()),
            profiles: BTreeMap::from([("staging".to_owned(), profile)]),
        }
    }

    #[test]
    fn profiles_are_kept_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/config.toml");
        profiles().write(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Profiles::read(&path).unwrap();
        assert_eq!(read.name(None), "staging");
        assert_eq!(
            read.get(None).unwrap().unwrap().key.as_deref(),
            Some("opk_canary")
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        profiles().write(&path).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let failure = Profiles::read(&path).unwrap_err();
            assert!(
                failure.next()[0].contains("chmod 600"),
                "{mode:o} {failure}"
            );
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        profiles().write(&path).unwrap();
        std::fs::write(&path, "key = opk_canary").unwrap();
        let failure = Profiles::read(&path).unwrap_err();
        assert!(!format!("{failure:?}").contains("opk_canary"));
    }

    #[test]
    fn a_name_that_is_nearly_right_is_proposed() {
        let profiles = profiles();
        let failure = profiles.get(Some("stagin")).unwrap_err();
        assert_eq!(failure.next()[0], "did you mean staging?");
        assert!(!format!("{profiles:?}").contains("canary"));
    }
}
