//! A receipt, offline.

use std::fmt::Write;

use anyhow::anyhow;

use super::super::{Failure, print};
use super::{Command, read};
use crate::event::{NewEvent, parse_event};
use crate::tlog::Policy;
use crate::verify::receipt::{Checked, Receipt, Submitted};

pub(super) fn run(command: &Command, policy: Option<&Policy>) -> Result<(), Failure> {
    let text = String::from_utf8(read(&command.receipt)?);
    let text = text.map_err(|_| anyhow!("{} is no text", command.receipt.display()))?;
    let receipt = Receipt::parse(&text).map_err(|error| anyhow!("{}: {error}", command.receipt.display()))?;
    let event = command.event.as_deref().map(read).transpose()?;
    let event = event.map(|bytes| event_of(&bytes)).transpose()?;
    let payload = command.payload.as_deref().map(read).transpose()?;
    let submitted = Submitted { payload: payload.as_deref(), event: event.as_ref() };
    let checked = receipt.check(submitted, policy);
    match checked.map_err(|error| anyhow!("{}: {error}", command.receipt.display()))? {
        Err(findings) => {
            let lines: Vec<_> = findings.iter().map(|finding| format!("DOES NOT HOLD: {finding}")).collect();
            Err(Failure::Refuted(anyhow!(lines.join("\n"))))
        }
        Ok(checked) => report(command, &checked),
    }
}

fn event_of(bytes: &[u8]) -> Result<NewEvent, Failure> {
    let first =
        |faults: Vec<crate::event::Invalid>| faults.first().map(ToString::to_string).unwrap_or_default();
    Ok(parse_event(bytes).map_err(|faults| anyhow!("the event: {}", first(faults)))?)
}

fn report(command: &Command, checked: &Checked) -> Result<(), Failure> {
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
    if command.event.is_none() {
        say("fields", "NOT compared: compare the envelope with what you sent, or give --event");
    }
    print(&text)?;
    if checked.signed && checked.payload_compared {
        return Ok(());
    }
    Err(Failure::Unchecked(anyhow!("what was checked holds, but not everything was checked")))
}
