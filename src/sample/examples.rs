//! Queries to try on a story, and what they find.

use super::Story;
use super::incident::{EVENTS, GUESSES, NETWORK};
use super::people::VICTIM;

pub struct Example {
    pub meaning: String,
    /// What stands after the `?` of a search.
    pub query: String,
    /// How many events it finds in a log with this story alone; `None`: as many as there happen to be.
    pub finds: Option<usize>,
}

pub fn examples(story: &Story) -> Vec<Example> {
    let incident = story.incident();
    let (from, to) = incident.span();
    let of_incident = [
        (
            "The incident, from the first wrong password to its end",
            format!("correlation_id={}", incident.correlation_id),
            EVENTS,
        ),
        (
            "How it began: wrong passwords from one network",
            format!("event_type=login&outcome=failure&ip:cidr={NETWORK}"),
            GUESSES,
        ),
        (
            "Who was made an admin, by whom and from where",
            "event_type=role_granted&changes.role.to=admin".to_owned(),
            1,
        ),
        (
            "What was carried away: an export of personal data",
            "event_type=export&tags=personal-data".to_owned(),
            1,
        ),
    ];
    let of_days = [
        (
            "Everything that was done in the victim's name in those hours",
            format!("user_identity={}&from={}&to={}", VICTIM.login, hour(from), hour(to)),
        ),
        ("Payments of exactly 49.90 EUR", "event_type=payment_captured&currency=EUR&amount=49.9".to_owned()),
        ("What happened to customers in Lisbon", "address.city=Lisbon".to_owned()),
        ("What should have woken somebody", "level=CRITICAL".to_owned()),
    ];
    let of_incident = of_incident.map(|(meaning, query, finds)| (meaning, query, Some(finds)));
    let of_days = of_days.map(|(meaning, query)| (meaning, query, None));
    of_incident
        .into_iter()
        .chain(of_days)
        .map(|(meaning, query, finds)| Example { meaning: meaning.to_owned(), query, finds })
        .collect()
}

/// A whole hour as short as it can be written.
fn hour(at: crate::event::Timestamp) -> String {
    at.to_string().replace(".000000Z", "Z")
}
