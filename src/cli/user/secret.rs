//! Where a new password comes from. Never from the command line: other users of the machine see that.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;

use crate::auth::name::{PASSWORD_MAX_BYTES, check_new_password};
use crate::auth::secret::Secret;
use crate::auth::{Cost, IssuedLogin, NewLogin};

#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct NewSecret {
    /// Read the password from a file; a line end after it is dropped
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read the password from standard input, likewise
    #[arg(long)]
    password_stdin: bool,
    /// Generate a password and print it, once; this is the default
    #[arg(long)]
    generate: bool,
    /// Generate a secret for a program, `evls_…`, to be sent as Basic password
    ///
    /// It has 256 random bits, so it is checked without the cost of a password: a program that connects
    /// often is never slowed down by others who log in.
    #[arg(long)]
    machine_secret: bool,
}

impl NewSecret {
    pub(super) fn obtain(&self) -> anyhow::Result<IssuedLogin> {
        Ok(self.wanted()?.issue(Cost::default())?)
    }

    fn wanted(&self) -> anyhow::Result<NewLogin> {
        let password = match &self.password_file {
            _ if self.machine_secret => return Ok(NewLogin::MachineSecret),
            Some(path) => from_file(path)?,
            None if self.password_stdin => first_line(std::io::stdin().lock())?,
            None => return Ok(NewLogin::GeneratedPassword),
        };
        check_new_password(password.reveal()).map_err(|problem| anyhow!(problem))?;
        Ok(NewLogin::Password(password))
    }
}

fn from_file(path: &Path) -> anyhow::Result<Secret> {
    let shown = path.display();
    let file =
        std::fs::File::open(path).with_context(|| format!("the password file {shown} cannot be opened"))?;
    first_line(file).with_context(|| format!("the password file {shown} cannot be read"))
}

/// A line end after the password is not part of it; what follows is refused by `check_new_password`.
fn first_line(source: impl Read) -> anyhow::Result<Secret> {
    let mut text = String::new();
    // One byte more than the longest password with its line end, so that a longer one is noticed.
    source.take(PASSWORD_MAX_BYTES as u64 + 3).read_to_string(&mut text)?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_end_after_a_password_is_not_part_of_it() {
        for text in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(first_line(text.as_bytes()).unwrap().reveal(), "secret");
        }
        assert_eq!(first_line(" se cret ".as_bytes()).unwrap().reveal(), " se cret ");
    }

    #[test]
    fn a_second_line_or_an_endless_file_is_refused() {
        let two = first_line("one\ntwo\n".as_bytes()).unwrap();
        assert!(check_new_password(two.reveal()).unwrap_err().contains("control"));
        let endless = first_line(std::io::repeat(b'x')).unwrap();
        assert!(check_new_password(endless.reveal()).unwrap_err().contains("longer"));
    }
}
