//! Whose signatures on a log's checkpoints are believed: the pinned keys first, else those the log itself names.

use super::{Culprit, Findings};
use crate::tlog::{Checkpoint, Policy, VerifierKey};

/// The keys of one log.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    pinned: Vec<VerifierKey>,
    /// By the log itself, so they show no more than that a checkpoint was not changed by somebody careless.
    registered: Vec<VerifierKey>,
}

/// What a note says, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub checkpoint: Checkpoint,
    pub pinned: bool,
}

impl Keys {
    /// The keys of the policy that are of this tenant's log, in any epoch: by the end of their names, as the rest is
    /// the installation's.
    pub fn pinned(policy: Option<&Policy>, tenant: &str) -> Self {
        let logs = policy.map(Policy::logs).unwrap_or_default();
        let own = logs.iter().map(|log| &log.key).filter(|key| epoch_of(key.name(), tenant).is_some());
        Self { pinned: own.cloned().collect(), registered: Vec::new() }
    }

    pub fn is_pinned(&self) -> bool {
        !self.pinned.is_empty()
    }

    /// The origins that are pinned, the newest epoch last.
    pub fn origins(&self, tenant: &str) -> Vec<&str> {
        let mut origins: Vec<&str> = self.pinned.iter().map(VerifierKey::name).collect();
        origins.sort_by_key(|origin| epoch_of(origin, tenant));
        origins
    }

    /// A key that the log says it has.
    pub fn register(&mut self, tenant: &str, epoch: i32, vkey: &str, findings: &mut Findings) {
        let mut fault = |what: String| findings.add(None, Culprit::DatabaseWriter, what);
        let key: VerifierKey = match vkey.parse() {
            Ok(key) => key,
            Err(error) => return fault(format!("the registered key of epoch {epoch} is none: {error}")),
        };
        if epoch_of(key.name(), tenant) != Some(epoch) {
            fault(format!("the key registered for epoch {epoch} is that of another log, {}", key.name()));
        }
        let pinned: Vec<_> = self.pinned.iter().filter(|pinned| pinned.name() == key.name()).collect();
        if !pinned.is_empty() && pinned.iter().all(|pinned| **pinned != key) {
            fault(format!("the key registered for {} is not the pinned one", key.name()));
        }
        self.registered.push(key);
    }

    /// Verifies a checkpoint; the error says what is wrong with it.
    pub fn open(&self, note: &str) -> Result<Read, String> {
        let origin = note.lines().next().unwrap_or_default();
        let pinned = self.pinned.iter().any(|key| key.name() == origin);
        let keys = if pinned { &self.pinned } else { &self.registered };
        match Checkpoint::open(note, keys) {
            Ok(checkpoint) => Ok(Read { checkpoint, pinned }),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The epoch of the tenant's log that an origin names.
pub fn epoch_of(origin: &str, tenant: &str) -> Option<i32> {
    let (base, last) = origin.rsplit_once('/')?;
    if last == tenant {
        return Some(0);
    }
    let epoch = last.strip_prefix('e')?.parse().ok().filter(|epoch| *epoch > 0)?;
    let named = format!("{base}/e{epoch}") == origin && base.rsplit_once('/')?.1 == tenant;
    named.then_some(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_tenant_and_epoch_by_its_end() {
        for (origin, tenant, epoch) in [
            ("base/default", "default", Some(0)),
            ("a.b/c/default/e3", "default", Some(3)),
            ("base/other", "default", None),
            ("base/other/e1", "default", None),
            ("base/default/e0", "default", None),
            ("base/default/e03", "default", None),
            ("base/e1", "e1", Some(0)),
            ("default", "default", None),
        ] {
            assert_eq!(epoch_of(origin, tenant), epoch, "{origin}");
        }
    }
}
