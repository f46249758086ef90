//! `eventlogger export`: what a search finds, from a running server into a file.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use futures_util::TryStreamExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::watch::Watch;
use super::{Failure, block_on, print};
use crate::config::{Client, Secret};
use crate::verify::bundle::{End, sha256};
use crate::walk::client;

const EXAMPLES: &str = "\
Examples:
  eventlogger export --url https://audit.example.org --out march.ndjson from=2026-03-01T00:00:00Z to=2026-04-01T00:00:00Z
  eventlogger export --url https://audit.example.org --out denials.csv --format csv --columns seq,timestamp,user_identity,event_data.amount outcome=denied
  eventlogger export --url https://audit.example.org --out case-7.bundle --format bundle 'q=case_id:7 -type:comment'
  eventlogger verify case-7.bundle --policy policy

Conditions are those of GET /events/query, as they stand in a URL but not encoded; without any, all is exported.
The file appears under its name once it is whole and its manifest bears it out; until then it is FILE.part. To go
on after a break, export the rest into another file with `seq:gt=` and the last seq.

Credentials come from the environment: EVENTLOGGER_USER with EVENTLOGGER_PASSWORD or EVENTLOGGER_PASSWORD_FILE, or
EVENTLOGGER_TOKEN or EVENTLOGGER_TOKEN_FILE.";

/// No line is longer: a payload's megabyte, each of its bytes escaped, and a piece.
const LINE_MAX: usize = 32 << 20;
/// Where in a line its seq stands.
const SEQ_WITHIN: usize = 1 << 14;
const PIECE_TIMEOUT: Duration = Duration::from_mins(2);

/// Save all that a search finds on a running server to a file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Command {
    /// The server, such as `https://audit.example.org`
    #[arg(long, value_name = "URL")]
    url: String,
    /// Where to; it must not be there yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What is written
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,
    /// Columns of a CSV, between commas: names of columns, and paths such as `event_data.amount`
    #[arg(long, value_name = "NAMES")]
    columns: Option<String>,
    /// PEM certificates to believe instead of the public ones, with an https URL
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What to export: NAME=VALUE or NAME:OPERATOR=VALUE
    #[arg(value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An event per line, as in lists
    Ndjson,
    /// A table for spreadsheets
    Csv,
    /// An event per line with all that proves it
    Bundle,
}

#[derive(Deserialize)]
struct Checkpoint {
    size: u64,
}

fn condition(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE or NAME:OPERATOR=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        let environment = Client::load()?;
        let authorization = environment.authorization.as_ref().map(Secret::reveal);
        let client = client::Client::new(&self.url, authorization, self.ca.as_deref())?;
        if self.out.exists() {
            return Err(Failure::Input(anyhow!("{} is there already", self.out.display())));
        }
        let part = with_suffix(&self.out, ".part");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.map_err(|error| unwritable(&part, &error))?;
        block_on(async {
            let saved = self.save(&client, &part, file).await?;
            fs::rename(&part, &self.out).map_err(|error| unwritable(&self.out, &error))?;
            print(&self.told(&saved))?;
            Ok(())
        })
    }

    async fn save(&self, client: &client::Client, part: &Path, file: File) -> Result<Saved, Failure> {
        let size = client.get("/integrity/checkpoint", 1 << 16).await?;
        let size = serde_json::from_slice(&size.body).map_or(0, |Checkpoint { size }| size);
        let watch = Watch::begin("export");
        watch.progress().begin(size);
        let mut saved = Saved::new(BufWriter::new(file));
        let received = async {
            let mut pieces = std::pin::pin!(client.stream(&self.path()).await?);
            while let Some(piece) =
                timeout(PIECE_TIMEOUT, pieces.try_next()).await.map_err(|_| silent())??
            {
                saved.take(&piece).map_err(|error| unwritable(part, &error))?;
                saved.last_seq().into_iter().for_each(|seq| watch.progress().set(seq + 1));
            }
            Ok::<_, Failure>(())
        };
        let received = received.await;
        watch.end().await;
        received?;
        saved
            .file
            .flush()
            .and_then(|()| saved.file.get_ref().sync_all())
            .map_err(|error| unwritable(part, &error))?;
        if self.format != Format::Csv {
            let headers = u64::from(self.format == Format::Bundle);
            saved.check(headers).map_err(|what| Failure::Refuted(anyhow!("{}: {what}", part.display())))?;
        }
        Ok(saved)
    }

    fn path(&self) -> String {
        let format = self.format.to_possible_value().map(|value| value.get_name().to_owned());
        let own = [("format", format), ("columns", self.columns.clone())];
        let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs = own.chain(self.conditions.iter().cloned());
        let pairs: Vec<_> =
            pairs.map(|(name, value)| format!("{}={}", encode(&name), encode(&value))).collect();
        format!("/events/export?{}", pairs.join("&"))
    }

    fn told(&self, saved: &Saved) -> String {
        let file = self.out.display();
        let count = match saved.count {
            Some(1) => "1 event".to_owned(),
            Some(count) => format!("{count} events"),
            None => format!("{} lines", saved.lines),
        };
        let next = match self.format {
            Format::Bundle => format!("Check it with: eventlogger verify {file} --policy FILE\n"),
            _ => String::new(),
        };
        format!("{count}, {} bytes, in {file}\n{next}", saved.bytes)
    }
}

/// What has come so far.
struct Saved {
    file: BufWriter<File>,
    bytes: u64,
    lines: u64,
    /// Of all but the last line.
    hash: Sha256,
    /// The last line, and what has come of the next.
    last: Vec<u8>,
    count: Option<u64>,
}

impl Saved {
    fn new(file: BufWriter<File>) -> Self {
        Self { file, bytes: 0, lines: 0, hash: Sha256::new(), last: Vec::new(), count: None }
    }

    fn take(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.file.write_all(piece)?;
        self.bytes += piece.len() as u64;
        self.lines += memchr::memchr_iter(b'\n', piece).count() as u64;
        self.last.extend_from_slice(piece);
        if self.last.len() > LINE_MAX {
            return Err(std::io::Error::other("the server sends a line that is longer than any event"));
        }
        let end = self.last.len().saturating_sub(1);
        if let Some(line) = memchr::memrchr(b'\n', &self.last[..end]) {
            self.hash.update(&self.last[..=line]);
            self.last.drain(..=line);
        }
        Ok(())
    }

    /// As far as the line that came last says.
    fn last_seq(&self) -> Option<u64> {
        let at = memchr::memmem::find(&self.last[..self.last.len().min(SEQ_WITHIN)], b"\"seq\":")? + 6;
        let digits: String = self.last[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .map(|&byte| char::from(byte))
            .collect();
        digits.parse().ok()
    }

    /// Whether the manifest is that of what came before it.
    fn check(&mut self, headers: u64) -> Result<(), String> {
        let end: Result<End, _> = serde_json::from_slice(&self.last);
        let Ok(End { manifest }) = end else {
            return Err("the manifest is missing: it was cut short".to_owned());
        };
        if sha256(&self.hash) != manifest.sha256 || manifest.count + headers + 1 != self.lines {
            return Err("the manifest does not fit what came before it: it was changed on the way".to_owned());
        }
        self.count = Some(manifest.count);
        Ok(())
    }
}

fn silent() -> Failure {
    Failure::Database(anyhow!("the server has sent nothing for {} s", PIECE_TIMEOUT.as_secs()))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(anyhow!("cannot write {}: {error}", file.display()))
}
