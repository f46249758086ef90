use std::collections::HashSet;

use serde_json::Value;

use super::people::PEOPLE;
use super::*;
use crate::event::{Level, Outcome};
use crate::query::params;

fn story(seed: u64, events: u64) -> Story {
    Story { seed, begin: Timestamp::parse("2026-11-14T09:30:00Z").unwrap(), events }
}

fn told(seed: u64, events: u64) -> Vec<NewEvent> {
    story(seed, events).tell().collect()
}

fn data(event: &NewEvent) -> Value {
    serde_json::from_slice(&event.payload.as_ref().unwrap().bytes).unwrap()
}

fn correlated<'a>(events: &'a [NewEvent], id: &str) -> Vec<&'a NewEvent> {
    events.iter().filter(|event| event.correlation_id.as_deref() == Some(id)).collect()
}

#[test]
fn a_seed_always_tells_the_same_story_and_another_seed_another() {
    assert_eq!(told(1, 500), told(1, 500));
    assert_ne!(told(1, 500), told(2, 500));
}

#[test]
fn a_longer_story_only_adds_to_a_shorter_one() {
    let longer = told(1, 3_000);
    for event in told(1, 700) {
        assert!(longer.contains(&event), "{event:?}");
    }
}

#[test]
fn there_are_as_many_events_as_asked_for_in_order_within_two_weeks_each_with_a_key() {
    for events in [100, 101, 102, 2_000, 20_000] {
        let story = story(7, events);
        let told: Vec<_> = story.tell().collect();
        let times: Vec<_> = told.iter().map(|event| event.timestamp.unwrap()).collect();
        assert_eq!((told.len() as u64, times[0]), (events, story.begin));
        assert!(times.is_sorted() && times.iter().all(|&at| at < story.end()));
        let keys: HashSet<_> = told.iter().map(|event| event.idempotency_key.clone().unwrap()).collect();
        assert_eq!(keys, (0..events).map(|n| format!("sample/7/{n}")).collect());
        assert_eq!(told[0].idempotency_key, Some(first_key(7)));
    }
}

#[test]
fn every_event_says_that_it_is_made_up_and_can_be_searched_whole() {
    for event in told(u64::MAX, 20_000) {
        assert_eq!(data(&event)["sample"], true, "{event:?}");
        assert!(!event.payload.unwrap().projection.lossy);
    }
}

#[test]
fn there_is_something_of_everything() {
    let events = told(1, 2_000);
    for level in Level::ALL {
        assert!(events.iter().any(|event| event.level.unwrap_or(Level::Info) == level), "{}", level.name());
    }
    for outcome in Outcome::ALL {
        assert!(events.iter().any(|event| event.outcome == Some(outcome)), "{}", outcome.name());
    }
    for source in ["web", "api", "billing", "admin", "batch"] {
        assert!(events.iter().any(|event| event.source.as_deref() == Some(source)), "{source}");
    }
    for person in &PEOPLE {
        assert!(events.iter().any(|event| event.user_identity == person.login), "{}", person.login);
    }
    let addresses: Vec<_> = events.iter().filter_map(|event| event.ip).collect();
    assert!(addresses.iter().any(|ip| ip.is_ipv4()) && addresses.iter().any(|ip| ip.is_ipv6()));
    let paid = events.iter().find(|event| event.event_type == "payment_captured").map(data).unwrap();
    assert!(paid["amount"].is_number() && paid["currency"].is_string() && paid["tags"].is_array());
    let of_one = correlated(&events, events.last().unwrap().correlation_id.as_deref().unwrap());
    assert!(!of_one.is_empty());
}

#[test]
fn the_incident_is_in_the_shortest_story_from_guesses_to_cleanup() {
    let story = story(1, EVENTS_MIN);
    let events: Vec<_> = story.tell().collect();
    let incident = story.incident();
    let found = correlated(&events, &incident.correlation_id);
    assert_eq!(found.len(), incident::EVENTS);
    assert!(found[..incident::GUESSES].iter().all(|guess| guess.outcome == Some(Outcome::Failure)));
    let rest: Vec<_> = found[incident::GUESSES..].iter().map(|event| event.event_type.as_str()).collect();
    let expected = [
        "login",
        "role_granted",
        "export",
        "access_denied",
        "alert_raised",
        "account_locked",
        "role_revoked",
        "sessions_revoked",
        "network_blocked",
        "password_reset",
        "incident_closed",
    ];
    assert_eq!(rest, expected);
    let (from, to) = incident.span();
    assert!(found.iter().all(|event| (from..to).contains(&event.timestamp.unwrap())));
    assert!(story.end().as_micros() - from.as_micros() < 3 * DAY);
}

#[test]
fn nobody_else_comes_from_the_attackers_network() {
    let story = story(3, 20_000);
    let id = story.incident().correlation_id;
    let from_there = |event: &NewEvent| event.ip.is_some_and(|ip| ip.to_string().starts_with("203.0.113."));
    for event in story.tell().filter(from_there) {
        assert_eq!(event.correlation_id.as_deref(), Some(id.as_str()));
    }
}

#[test]
fn the_examples_are_sound_searches() {
    let examples = examples(&story(1, 2_000));
    assert!((5..=8).contains(&examples.len()));
    for Example { query, .. } in examples {
        let pairs: Vec<_> = query
            .split('&')
            .map(|pair| {
                pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap()
            })
            .collect();
        assert!(params::parse(&pairs).is_ok(), "{query}");
        assert!(!query.contains([' ', '"', '+', '%']), "{query} needs no escapes");
    }
}
