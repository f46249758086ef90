//! What commands that talk to a running service take from the environment: credentials, never in arguments, which
//! every user of a machine can read; and where they keep what they learnt.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{ConfigError, Fault, Origin, Secret};

const USER: &str = "EVENTLOGGER_USER";
const PASSWORD: &str = "EVENTLOGGER_PASSWORD";
const PASSWORD_FILE: &str = "EVENTLOGGER_PASSWORD_FILE";
const TOKEN: &str = "EVENTLOGGER_TOKEN";
const TOKEN_FILE: &str = "EVENTLOGGER_TOKEN_FILE";

/// The variables with our prefix that are no configuration of the service.
pub(super) const VARIABLES: [&str; 5] = [USER, PASSWORD, PASSWORD_FILE, TOKEN, TOKEN_FILE];

#[derive(Clone, Debug)]
pub struct Client {
    /// The value of an `Authorization` header, if there are credentials.
    pub authorization: Option<Secret>,
    /// For state that should outlive a run: `$XDG_STATE_HOME/eventlogger` or `~/.local/state/eventlogger`.
    pub state_dir: PathBuf,
}

impl Client {
    pub fn load() -> Result<Self, ConfigError> {
        Self::load_from(std::env::vars_os())
    }

    pub fn load_from(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment = Environment(environment.into_iter().collect());
        let authorization = environment.authorization().map_err(|fault| ConfigError(vec![fault]))?;
        Ok(Self { authorization, state_dir: environment.state_dir() })
    }
}

struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(OsString::as_os_str)
    }

    fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        let text =
            |value: &OsStr| value.to_str().map(str::to_owned).ok_or_else(|| fault(name, "it is not UTF-8"));
        self.get(name).map(text).transpose()
    }

    /// A secret, given as it is or in a file.
    fn secret(&self, name: &'static str, in_file: &'static str) -> Result<Option<String>, Fault> {
        match (self.text(name)?, self.get(in_file)) {
            (Some(_), Some(_)) => {
                Err(fault(in_file, format!("{name} is given as well; keep one of the two")))
            }
            (None, Some(file)) => {
                first_line(Path::new(file)).map(Some).map_err(|error| fault(in_file, error))
            }
            (given, None) => Ok(given),
        }
    }

    fn authorization(&self) -> Result<Option<Secret>, Fault> {
        let user = self.text(USER)?;
        let password = self.secret(PASSWORD, PASSWORD_FILE)?;
        let token = self.secret(TOKEN, TOKEN_FILE)?;
        let header = match (user, password, token) {
            (None, None, None) => return Ok(None),
            (None, None, Some(token)) => format!("Bearer {token}"),
            (Some(user), Some(password), None) => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            (Some(_), None, None) => {
                return Err(fault(USER, format!("{PASSWORD} or {PASSWORD_FILE} is missing")));
            }
            (None, Some(_), _) => return Err(fault(PASSWORD, format!("{USER} is missing"))),
            (Some(_), _, Some(_)) => {
                return Err(fault(TOKEN, format!("{USER} is given as well; keep one of the two")));
            }
        };
        Ok(Some(Secret::new(header)))
    }

    fn state_dir(&self) -> PathBuf {
        let home = || self.get("HOME").map_or_else(PathBuf::new, PathBuf::from).join(".local/state");
        let folder = self.get("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
        folder.unwrap_or_else(home).join("eventlogger")
    }
}

fn fault(variable: &str, detail: impl Into<String>) -> Fault {
    Fault { origin: Some(Origin::Variable(variable.to_owned())), detail: detail.into() }
}

fn first_line(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("the secret in {} cannot be read: {error}", file.display()))?;
    let line = text.lines().next().filter(|line| !line.is_empty());
    line.map(str::to_owned)
        .ok_or_else(|| format!("the secret file {} has no text in its first line", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Client, String> {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Client::load_from(variables).map_err(|error| error.to_string())
    }

    #[test]
    fn credentials_are_a_user_with_a_password_or_a_token_or_none() {
        let header = |variables: &[(&str, &str)]| load(variables).unwrap().authorization;
        assert_eq!(header(&[]), None);
        assert_eq!(header(&[(TOKEN, "evl_default_x")]).unwrap().reveal(), "Bearer evl_default_x");
        assert_eq!(header(&[(USER, "a"), (PASSWORD, "b")]).unwrap().reveal(), "Basic YTpi");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "b\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(header(&[(USER, "a"), (PASSWORD_FILE, path)]).unwrap().reveal(), "Basic YTpi");
        for (variables, expected) in [
            (&[(USER, "a")][..], "is missing"),
            (&[(PASSWORD, "b")], "EVENTLOGGER_USER is missing"),
            (&[(USER, "a"), (PASSWORD, "b"), (TOKEN, "t")], "keep one of the two"),
            (&[(USER, "a"), (PASSWORD, "b"), (PASSWORD_FILE, path)], "keep one of the two"),
            (&[(TOKEN_FILE, "/nowhere")], "cannot be read"),
        ] {
            let error = load(variables).unwrap_err();
            assert!(error.contains(expected), "{variables:?}: {error}");
        }
    }

    #[test]
    fn state_lies_where_the_user_keeps_it() {
        let folder = |variables| load(variables).unwrap().state_dir;
        assert_eq!(folder(&[("HOME", "/home/a")]), Path::new("/home/a/.local/state/eventlogger"));
        let both = [("HOME", "/home/a"), ("XDG_STATE_HOME", "/state")];
        assert_eq!(folder(&both), Path::new("/state/eventlogger"));
    }
}
