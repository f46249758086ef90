//! Made-up events that tell a story: two weeks of a small company, and one incident.
//!
//! Event `n` of a seed is the same however many are asked for, so that a longer story only adds to a shorter one. Each
//! says of itself that it is made up.

mod draft;
mod everyday;
mod examples;
mod incident;
mod people;
mod random;

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use crate::event::{NewEvent, Timestamp};
use draft::Draft;
pub use examples::{Example, examples};
use incident::{Incident, opening};

/// Whose log gets the events.
pub const TENANT: &str = "demo";
pub const EVENTS_MIN: u64 = 100;
pub const EVENTS_MAX: u64 = 1_000_000;
/// What the idempotency keys of all stories begin with.
const KEY_PREFIX: &str = "sample/";

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const DAYS: i64 = 14;

/// What is told: the same for the same three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    pub seed: u64,
    /// When its first event is; a log that has that event says it again.
    pub begin: Timestamp,
    pub events: u64,
}

/// The idempotency key of the event that begins a story, which says when that is.
pub fn first_key(seed: u64) -> String {
    key(seed, 0)
}

fn key(seed: u64, n: u64) -> String {
    format!("{KEY_PREFIX}{seed}/{n}")
}

/// Where a story begins that ends now.
pub fn beginning_of_one_that_ends(now: Timestamp) -> Timestamp {
    let whole_second = now.as_micros() / SECOND * SECOND;
    Timestamp::from_micros(whole_second - DAYS * DAY).unwrap_or(Timestamp::MIN)
}

impl Story {
    pub fn end(&self) -> Timestamp {
        Timestamp::from_micros(self.begin.as_micros() + DAYS * DAY).unwrap_or(Timestamp::MAX)
    }

    /// All events in the order of their timestamps.
    pub fn tell(&self) -> impl Iterator<Item = NewEvent> + use<> {
        let story = *self;
        Told { plan: self.plan().into_iter().peekable(), story, begun: BTreeMap::new() }
            .map(move |(n, draft)| draft.into_event(key(story.seed, n)))
    }

    fn incident(&self) -> Incident {
        Incident::new(self.seed, self.end())
    }

    /// The scenes by the time at which they begin. Events are numbered scene by scene, the incident before all days.
    fn plan(&self) -> Vec<Scene> {
        let mut plan = Vec::new();
        let mut next = 0;
        let kinds = [Kind::Opening, Kind::Incident].into_iter().chain((0..).map(Kind::Everyday));
        for kind in kinds {
            let events = self.drafts(kind);
            if let Some(first) = events.first() {
                plan.push(Scene { at: first.at, first_event: next, kind });
            }
            next += events.len() as u64;
            if next >= self.events {
                break;
            }
        }
        plan.sort_unstable_by_key(|scene| (scene.at, scene.first_event));
        plan
    }

    fn drafts(&self, kind: Kind) -> Vec<Draft> {
        match kind {
            Kind::Opening => vec![opening(self)],
            Kind::Incident => self.incident().drafts(),
            Kind::Everyday(number) => everyday::scene(self, number),
        }
    }
}

/// Events that belong together.
#[derive(Clone, Copy)]
struct Scene {
    at: i64,
    first_event: u64,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Opening,
    Incident,
    Everyday(u64),
}

/// Makes the scenes only when it is their turn: a million events are not held at once.
struct Told {
    plan: Peekable<IntoIter<Scene>>,
    story: Story,
    /// Events of scenes that have begun, by time and number.
    begun: BTreeMap<(i64, u64), Draft>,
}

impl Iterator for Told {
    type Item = (u64, Draft);

    fn next(&mut self) -> Option<Self::Item> {
        // A scene that begins before the next event could have an earlier one.
        while let Some(scene) = self.plan.next_if(|scene| match self.begun.first_key_value() {
            Some((&(at, _), _)) => scene.at <= at,
            None => true,
        }) {
            let numbers = scene.first_event..self.story.events;
            let numbered = numbers.zip(self.story.drafts(scene.kind));
            self.begun.extend(numbered.map(|(n, draft)| ((draft.at, n), draft)));
        }
        self.begun.pop_first().map(|((_, n), draft)| (n, draft))
    }
}

#[cfg(test)]
mod tests;
