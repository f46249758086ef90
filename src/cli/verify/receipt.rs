//! A receipt, offline.

use std::fmt::Write;
use std::path::Path;

use anyhow::anyhow;

use super::super::{Failure, print};
use super::{Options, read};
use crate::event::{Invalid, NewEvent, parse_event};
use crate::verify::receipt::{Checked, Receipt, Submitted};

pub(super) fn run(file: &Path, text: Vec<u8>, options: &Options) -> Result<(), Failure> {
    let policy = options.policy()?;
    let unusable =
        |file: &Path, error: &dyn std::fmt::Display| Failure::Input(anyhow!("{}: {error}", file.display()));
    let text = String::from_utf8(text).map_err(|_| unusable(file, &"this is no text"))?;
    let receipt = Receipt::parse(&text).map_err(|error| unusable(file, &error))?;
    let event = options.event.as_deref().map(event_of).transpose()?;
    let payload = options.payload.as_deref().map(read).transpose()?;
    let submitted = Submitted { payload: payload.as_deref(), event: event.as_ref() };
    match receipt.check(submitted, policy.as_ref()).map_err(|error| unusable(file, &error))? {
        Err(findings) => {
            let lines: Vec<_> = findings.iter().map(|finding| format!("found: {finding}")).collect();
            Err(Failure::Refuted(anyhow!(lines.join("\n"))))
        }
        Ok(checked) => report(options, &checked),
    }
}

fn event_of(file: &Path) -> Result<NewEvent, Failure> {
    let first = |faults: Vec<Invalid>| faults.first().map(ToString::to_string).unwrap_or_default();
    let event = parse_event(&read(file)?);
    event.map_err(|faults| Failure::Input(anyhow!("{}: {}", file.display(), first(faults))))
}

fn report(options: &Options, checked: &Checked) -> Result<(), Failure> {
    let Checked { entry, envelope, checkpoint, .. } = checked;
    let mut text = String::new();
    let mut say = |what: &str, how: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<11} {how}");
    };
    say("event", &format!("{}, seq {} of log {}", entry.id, entry.seq, checkpoint.origin));
    say("received", &entry.received_at.to_string());
    say("envelope", envelope);
    let compared = match (checked.payload_compared, entry.payload.is_some()) {
        (true, true) => "as recorded",
        (true, false) => "none was recorded",
        (false, _) => "NOT compared: give it with --payload, or the whole event with --event",
    };
    say("payload", compared);
    say("tree", &format!("contained in the first {} entries", checkpoint.size));
    let signature = match checked.signed {
        true => "right, by the key that the policy pins",
        false => "NOT checked: no key is pinned. Fetch the policy once, from where you trust: see --help",
    };
    say("signature", signature);
    if options.event.is_none() {
        say("fields", "NOT compared: compare the envelope with what you sent, or give --event");
    }
    print(&text)?;
    let is_compared = options.event.is_some() || options.payload.is_some();
    if checked.signed && checked.payload_compared && is_compared {
        return Ok(());
    }
    Err(Failure::Incomplete("nothing wrong was found, but not everything was checked".to_owned()))
}
