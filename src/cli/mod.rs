//! The command line. Each command is a file with a `Command` and its `run`.

mod arguments;
mod bench;
mod config;
mod epoch;
mod export;
mod key;
mod migrate;
mod openapi;
mod sample;
mod serve;
mod table;
pub mod tenant;
pub mod token;
pub mod user;
mod verify;
mod watch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sqlx::PgPool;

use crate::app::{self, AppError};
use crate::config::{Config, ConfigError, Log};
use crate::store::Store;
use crate::telemetry::{self, printable};

const AFTER_HELP: &str = "\
Configuration:
  Defaults, then --config FILE, then the environment (EVENTLOGGER_SECTION__KEY).
  `eventlogger config` prints what is in effect; `eventlogger config --defaults` explains every key.

Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  wrong configuration, or a file that was given cannot be used
  4  no database: PostgreSQL is missing, refuses, or cannot be reached; for `verify --url`, no server
  5  cannot listen on a configured address, or not with its certificate
  6  `verify`: something is not as it was recorded
  7  `verify`: nothing wrong was found, but not everything could be checked";

/// An authenticated, provable audit log on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "eventlogger", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Arguments {
    /// Read settings from FILE, over the defaults and under the environment
    #[arg(long, value_name = "FILE", env = "EVENTLOGGER_CONFIG", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

/// To mount a command: a line here and one in `run`.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Command),
    Migrate(migrate::Command),
    #[command(subcommand)]
    User(user::Command),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    Tenant(tenant::Command),
    #[command(subcommand)]
    Epoch(epoch::Command),
    #[command(subcommand)]
    Key(key::Command),
    Openapi(openapi::Command),
    Export(export::Command),
    Verify(verify::Command),
    Sample(sample::Command),
    Bench(bench::Command),
    Config(config::Command),
}

impl Command {
    /// Commands that need the configuration load it here: `command.run(Config::load(file)?)`.
    fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        match self {
            Self::Serve(command) => command.run(file),
            Self::Migrate(command) => command.run(file),
            Self::User(command) => administer(file, async |pool, out| user::run(command, pool, out).await),
            Self::Token(command) => administer(file, async |pool, out| token::run(command, pool, out).await),
            Self::Tenant(command) => {
                administer(file, async |pool, out| tenant::run(command, pool, out).await)
            }
            Self::Epoch(command) => command.run(file),
            Self::Key(command) => command.run(file),
            Self::Openapi(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Verify(command) => command.run(file),
            Self::Sample(command) => command.run(file),
            Self::Bench(command) => command.run(),
            Self::Config(command) => command.run(file),
        }
    }
}

/// Why a command failed, as far as its exit code tells.
#[derive(Debug)]
pub enum Failure {
    Failed(anyhow::Error),
    Config(ConfigError),
    Database(anyhow::Error),
    Listen(anyhow::Error),
    /// A file that the command was given cannot be used.
    Input(anyhow::Error),
    /// Something that was verified is not as it was recorded.
    Refuted(anyhow::Error),
    /// Nothing is wrong, but not everything could be looked at.
    Incomplete(String),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Config(_) | Self::Input(_) => 3,
            Self::Database(_) => 4,
            Self::Listen(_) => 5,
            Self::Refuted(_) => 6,
            Self::Incomplete(_) => 7,
        })
    }

    fn message(&self) -> String {
        match self {
            Self::Config(error) => error.to_string(),
            Self::Failed(error)
            | Self::Database(error)
            | Self::Listen(error)
            | Self::Input(error)
            | Self::Refuted(error) => format!("{error:#}"),
            Self::Incomplete(what) => what.clone(),
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        // These errors tell their causes themselves; the chain would repeat them.
        let told = anyhow::Error::msg(error.to_string());
        match error {
            AppError::Listen(_) | AppError::Tls(_) => Self::Listen(told),
            AppError::Cluster(_) | AppError::Store(_) | AppError::Url(_) | AppError::Settings(_) => {
                Self::Database(told)
            }
            _ => Self::Failed(told),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    // clap itself ends the process for --help (0) and wrong usage (2).
    let arguments = Arguments::parse();
    match arguments.command.run(arguments.config.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in printable(&failure.message()).lines() {
                // Nothing is left to be done if standard error is closed.
                let _ = writeln!(io::stderr(), "eventlogger: {line}");
            }
            failure.exit_code()
        }
    }
}

/// Runs a command's future on a runtime of its own.
pub fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

/// Runs a command on the database, be it a running service's or not. What it prints comes out at the end, so
/// that a secret is shown only once the change it belongs to is committed.
fn administer(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&PgPool, &mut Vec<u8>) -> anyhow::Result<()>,
) -> Result<(), Failure> {
    on_the_store(file, async |store, _| {
        let mut output = Vec::new();
        command(&store.control, &mut output).await?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    })
}

/// The same for commands that need the keys and settings, too.
fn on_the_store(
    file: Option<&Path>,
    command: impl AsyncFnOnce(&Store, &Config) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let config = Config::load(file)?;
    telemetry::init(&Log { filter: "warn".to_owned(), ..config.log.clone() })?;
    block_on(async {
        let database = app::open_store(&config).await?;
        let told = command(&database.store, &config).await;
        database.close().await;
        print(&told?)?;
        Ok(())
    })
}

/// Writes a result to standard output. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(printable(text).as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_is_explained() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no description", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Arguments::command());
    }
}
