//! Trust policies: which logs a verifier believes, and which witnesses must have seen the same checkpoint.

use std::collections::HashMap;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::key::{KeyError, KeyKind, Signer, VerifierKey};
use super::{decimal, note};

/// The predefined quorum that needs no witness.
const NONE: &str = "none";

/// A policy file, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    /// What `witness` and `group` lines define, in their order: members of a group stand before it.
    voters: Vec<Voter>,
    /// The voter that decides. None: no cosignature is asked for.
    quorum: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub key: VerifierKey,
    /// As in the file, which need not be UTF-8.
    pub url: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What the policy calls it; the name of its key may be another.
    pub name: Vec<u8>,
    pub key: VerifierKey,
    /// As in the file, which need not be UTF-8.
    pub url: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Voter {
    name: Vec<u8>,
    vote: Vote,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Vote {
    /// Index into the witnesses.
    Witness(usize),
    /// Indices into the voters, and how many of them it takes.
    Group { threshold: usize, members: Vec<usize> },
}

/// A checkpoint that the policy accepts, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<'p> {
    pub checkpoint: Checkpoint,
    pub log: &'p VerifierKey,
    /// Every witness of the policy that cosigned, whether or not the quorum needs it.
    pub witnesses: Vec<Seen<'p>>,
}

/// The cosignature of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'p> {
    pub witness: &'p Witness,
    /// Unix seconds, by the clock of the witness.
    pub time: u64,
}

/// Why a policy does not accept a note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the quorum {quorum} is not reached; cosigned by: {witnesses}")]
    Quorum { quorum: String, witnesses: String },
}

impl Policy {
    /// Verifies a signed checkpoint: signed by a listed log whose key has the origin as its name, cosigned by
    /// the quorum, and no signature by a listed key is wrong.
    pub fn check(&self, note: &(impl AsRef<[u8]> + ?Sized)) -> Result<Verified<'_>, Untrusted> {
        let witness_keys = self.witnesses.iter().map(|witness| &witness.key);
        let keys = self.logs.iter().map(|log| &log.key).chain(witness_keys);
        let opened = note::open_with(note, keys).map_err(CheckpointError::from)?;
        let (checkpoint, log) = Checkpoint::of(&opened)?;
        let witnesses = self.seen(&opened.signers);
        match self.quorum {
            Some(quorum) if !self.votes(&witnesses)[quorum] => Err(self.not_reached(quorum, &witnesses)),
            _ => Ok(Verified { checkpoint, log, witnesses }),
        }
    }

    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    fn seen(&self, signers: &[Signer]) -> Vec<Seen<'_>> {
        let time = |witness: &Witness| signers.iter().find(|signer| *signer.key == witness.key)?.time;
        self.witnesses.iter().filter_map(|witness| Some(Seen { witness, time: time(witness)? })).collect()
    }

    /// For each voter whether it has witnessed the checkpoint. Members stand before their groups, so one pass
    /// does, however deep the groups are nested.
    fn votes(&self, seen: &[Seen]) -> Vec<bool> {
        let mut votes = Vec::with_capacity(self.voters.len());
        for voter in &self.voters {
            votes.push(match &voter.vote {
                Vote::Witness(at) => seen.iter().any(|seen| *seen.witness == self.witnesses[*at]),
                Vote::Group { threshold, members } => {
                    members.iter().filter(|member| votes[**member]).count() >= *threshold
                }
            });
        }
        votes
    }

    fn not_reached(&self, quorum: usize, seen: &[Seen]) -> Untrusted {
        let names: Vec<_> = seen.iter().map(|seen| lossy(&seen.witness.name)).collect();
        let witnesses = if names.is_empty() { "no known witness".to_owned() } else { names.join(", ") };
        Untrusted::Quorum { quorum: lossy(&self.voters[quorum].name), witnesses }
    }

    /// Reads a policy file. Its octets above 7F are opaque: names and URLs need not be UTF-8.
    pub fn parse(file: &[u8]) -> Result<Self, PolicyError> {
        let mut reader = Reader::default();
        for (at, line) in file.split(|octet| *octet == b'\n').enumerate() {
            reader.line(line).map_err(|problem| PolicyError::Line { line: at + 1, problem })?;
        }
        let Reader { logs, witnesses, voters, quorum, .. } = reader;
        let quorum = quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Self { logs, witnesses, voters, quorum })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: Problem },
    #[error("the policy has no quorum line; expected quorum <name>, or quorum none")]
    NoQuorum,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("octet {0:02X}; the only control characters are tab and newline")]
    Octet(u8),
    #[error("expected log, witness, group or quorum, found {0:?}")]
    Keyword(String),
    #[error("expected {0}")]
    Form(&'static str),
    #[error("in the key: {0}")]
    Key(#[from] KeyError),
    #[error("a log key has type 01 (Ed25519); this one has type {0:02x}")]
    LogKind(u8),
    #[error("a witness key has type 04 (Ed25519 cosignature); this one has type {0:02x}")]
    WitnessKind(u8),
    #[error("a {0} with this public key stands further up; under another name it counts as the same")]
    DuplicateKey(&'static str),
    #[error("the name {0:?} is already defined")]
    DuplicateName(String),
    #[error("the name \"none\" is predefined; only a quorum line may use it")]
    Predefined,
    #[error("{0:?} is not defined on a line further up")]
    Undefined(String),
    #[error("{0:?} is already a member of a group; a name can be a member once in the whole policy")]
    MemberTwice(String),
    #[error("the threshold must be all, any or a number from 1 to {members}, the number of members")]
    Threshold { members: usize },
    #[error("there is a quorum line already; a policy has exactly one")]
    SecondQuorum,
}

const LOG_FORM: &str = "log <vkey> [<url>]";
const WITNESS_FORM: &str = "witness <name> <vkey> [<url>]";
const GROUP_FORM: &str = "group <name> all|any|<number> <member>...";
const QUORUM_FORM: &str = "quorum <name>, or quorum none";

/// A policy as far as it is read.
#[derive(Default)]
struct Reader {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    voters: Vec<Voter>,
    quorum: Option<Option<usize>>,
    /// Where the voter of a name is.
    names: HashMap<Vec<u8>, usize>,
    /// For each voter whether a group has it as a member.
    taken: Vec<bool>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        let bad = |octet: &&u8| **octet != b'\t' && octet.is_ascii_control();
        if let Some(octet) = line.iter().find(bad) {
            return Err(Problem::Octet(*octet));
        }
        let items = line.split(|octet| matches!(octet, b' ' | b'\t')).filter(|item| !item.is_empty());
        let items: Vec<_> = items.collect();
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", rest @ ..] => self.log(rest),
            [b"witness", rest @ ..] => self.witness(rest),
            [b"group", rest @ ..] => self.group(rest),
            [b"quorum", rest @ ..] => self.quorum(rest),
            [other, ..] => Err(Problem::Keyword(lossy(other))),
        }
    }

    fn log(&mut self, items: &[&[u8]]) -> Result<(), Problem> {
        let (key, url) = key_and_url(items, LOG_FORM)?;
        // The specification leaves the type of a log key open; this service signs with type 01.
        if key.kind() != KeyKind::Ed25519 {
            return Err(Problem::LogKind(key.kind() as u8));
        }
        if self.logs.iter().any(|log| log.key.has_key_of(&key)) {
            return Err(Problem::DuplicateKey("log"));
        }
        self.logs.push(Log { key, url });
        Ok(())
    }

    fn witness(&mut self, items: &[&[u8]]) -> Result<(), Problem> {
        let (name, rest) = items.split_first().ok_or(Problem::Form(WITNESS_FORM))?;
        let (key, url) = key_and_url(rest, WITNESS_FORM)?;
        if key.kind() != KeyKind::Cosignature {
            return Err(Problem::WitnessKind(key.kind() as u8));
        }
        if self.witnesses.iter().any(|witness| witness.key.has_key_of(&key)) {
            return Err(Problem::DuplicateKey("witness"));
        }
        self.define(name, Vote::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.to_vec(), key, url });
        Ok(())
    }

    fn group(&mut self, items: &[&[u8]]) -> Result<(), Problem> {
        let [name, threshold, names @ ..] = items else { return Err(Problem::Form(GROUP_FORM)) };
        if names.is_empty() {
            return Err(Problem::Form(GROUP_FORM));
        }
        let threshold = parse_threshold(threshold, names.len())?;
        let members = names.iter().map(|name| self.take(name)).collect::<Result<_, _>>()?;
        self.define(name, Vote::Group { threshold, members })
    }

    fn quorum(&mut self, items: &[&[u8]]) -> Result<(), Problem> {
        let [name] = items else { return Err(Problem::Form(QUORUM_FORM)) };
        let quorum = if *name == NONE.as_bytes() { None } else { Some(self.voter(name)?) };
        match self.quorum.replace(quorum) {
            Some(_) => Err(Problem::SecondQuorum),
            None => Ok(()),
        }
    }

    fn define(&mut self, name: &[u8], vote: Vote) -> Result<(), Problem> {
        if name == NONE.as_bytes() {
            return Err(Problem::Predefined);
        }
        if self.names.insert(name.to_vec(), self.voters.len()).is_some() {
            return Err(Problem::DuplicateName(lossy(name)));
        }
        self.voters.push(Voter { name: name.to_vec(), vote });
        self.taken.push(false);
        Ok(())
    }

    /// The voter of a name, as the member of a group: once in a policy, so that a witness counts in one way.
    fn take(&mut self, name: &[u8]) -> Result<usize, Problem> {
        if name == NONE.as_bytes() {
            return Err(Problem::Predefined);
        }
        let voter = self.voter(name)?;
        if std::mem::replace(&mut self.taken[voter], true) {
            return Err(Problem::MemberTwice(lossy(name)));
        }
        Ok(voter)
    }

    fn voter(&self, name: &[u8]) -> Result<usize, Problem> {
        self.names.get(name).copied().ok_or_else(|| Problem::Undefined(lossy(name)))
    }
}

fn key_and_url(items: &[&[u8]], form: &'static str) -> Result<(VerifierKey, Option<Vec<u8>>), Problem> {
    let (vkey, url) = match items {
        [vkey] => (vkey, None),
        [vkey, url] => (vkey, Some(url.to_vec())),
        _ => return Err(Problem::Form(form)),
    };
    let vkey = str::from_utf8(vkey).map_err(|_| KeyError::Form)?;
    Ok((vkey.parse()?, url))
}

fn parse_threshold(text: &[u8], members: usize) -> Result<usize, Problem> {
    let number = match text {
        b"all" => Some(members),
        b"any" => Some(1),
        digits => str::from_utf8(digits).ok().and_then(decimal).and_then(|k| usize::try_from(k).ok()),
    };
    number.filter(|k| (1..=members).contains(k)).ok_or(Problem::Threshold { members })
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests;
