//! Uses the Rust client that was generated from a running service's document, as an application would.

use std::{collections::HashMap, env, error::Error, fmt::Debug, num::NonZero};

use base64::{Engine, engine::general_purpose::STANDARD};
use eventlogger::{Client, ClientInfo, types};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use serde_json::json;
use uuid::Uuid;

#[expect(unused_imports, reason = "it brings a prelude, too")]
mod eventlogger {
    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}

async fn run() -> Outcome {
    let client = basic("admin", &env::var("ADMIN_PASSWORD")?)?;
    let recorded = record(&client).await?;
    let mut seqs = vec![Some(recorded.seq)];
    seqs.extend(record_many(&client).await?);
    seqs.extend(record_lines(&client).await?);
    find_again(&client, seqs).await?;
    read_back(&client, &recorded).await?;
    errors_are_typed(&client).await?;
    println!("ok: the generated Rust client records, finds, pages, reads back and tells errors apart");
    Ok(())
}

fn api(authorization: &str) -> Outcome<Client> {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, authorization.try_into()?)]);
    let http = reqwest::Client::builder().default_headers(headers).build()?;
    Ok(Client::new_with_client(&env::var("SERVICE_URL")?, http))
}

fn basic(user: &str, password: &str) -> Outcome<Client> {
    api(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn account_event(account: u32) -> types::builder::NewEvent {
    types::NewEvent::builder()
        .event_type("old_account")
        .user_identity("Asad_Zaman")
        .outcome(types::Outcome::Success)
        .event_data(json!({"account_id": account, "email": "john.doe@example.com"}))
}

async fn record(client: &Client) -> Outcome<types::Recorded> {
    let recorded = client.record_event().body(account_event(1346)).send().await?.into_inner();
    assert!(recorded.receipt.is_some(), "{recorded:?}");
    Ok(recorded)
}

async fn record_many(client: &Client) -> Outcome<Vec<Option<i64>>> {
    let accounts = [1346, 1347, 1346, 1347, 1346];
    let events: Result<Vec<types::NewEvent>, _> =
        accounts.map(|account| account_event(account).try_into()).into_iter().collect();
    let result = client.record_batch().receipt(types::ReceiptDetail::None).body(events?).send().await?;
    assert_eq!((result.stored, result.rejected, result.results.len()), (5, 0, 5));
    let found = result.results.iter().zip(accounts).filter(|(_, account)| *account == 1346);
    Ok(found.map(|(item, _)| item.seq).collect())
}

/// What no generator writes: one event per line.
async fn record_lines(client: &Client) -> Outcome<Vec<Option<i64>>> {
    let line = serde_json::to_string(&types::NewEvent::try_from(account_event(1346))?)?;
    let request = client.client().post(format!("{}/events/batch", client.baseurl()));
    let request = request.header(CONTENT_TYPE, "application/x-ndjson").body([line.as_str(); 3].join("\n"));
    let result: types::BatchResult = request.send().await?.json().await?;
    assert_eq!(result.stored, 3);
    Ok(result.results.iter().map(|item| item.seq).collect())
}

async fn events_by_url(client: &Client, account: u32) -> Outcome<Vec<Option<i64>>> {
    let conditions = HashMap::from([("account_id".to_owned(), account.to_string())]);
    let request = || client.query_events().conditions(conditions.clone()).limit(2);
    let mut page = request().send().await?.into_inner();
    let mut found = page.events;
    while let Some(cursor) = page.next_cursor {
        page = request().cursor(cursor).send().await?.into_inner();
        found.append(&mut page.events);
    }
    Ok(found.iter().map(|event| Some(event.seq)).collect())
}

async fn events_by_filter(client: &Client, account: serde_json::Value) -> Outcome<Vec<Option<i64>>> {
    let filter = types::Comparison::builder().field("event_data.account_id").value(account);
    let filter = types::EventFilter::Comparison(filter.try_into()?);
    let query = types::EventQuery::builder().filter(filter).limit(NonZero::new(2));
    let mut page = client.search_events().body(query.clone()).send().await?.into_inner();
    let mut found = page.events;
    while let Some(cursor) = page.next_cursor {
        page = client.search_events().body(query.clone().cursor(cursor)).send().await?.into_inner();
        found.append(&mut page.events);
    }
    Ok(found.iter().map(|event| Some(event.seq)).collect())
}

async fn find_again(client: &Client, mut seqs: Vec<Option<i64>>) -> Outcome {
    // Newest first.
    seqs.reverse();
    assert_eq!(events_by_url(client, 1346).await?, seqs);
    assert_eq!(events_by_filter(client, json!(1346)).await?, seqs);
    assert_eq!(events_by_filter(client, json!("1346")).await?, [], "a JSON filter takes text for text");
    Ok(())
}

async fn read_back(client: &Client, recorded: &types::Recorded) -> Outcome {
    let event = client.get_event().id(recorded.id).send().await?;
    assert_eq!((event.seq, event.outcome), (recorded.seq, Some(types::Outcome::Success)));
    let payload = client.get_event_payload().id(recorded.id).send().await?;
    assert_eq!(Some(&**payload), event.event_data.as_ref());
    Ok(())
}

/// Takes only errors that the generator gave our type.
fn problem<T: Debug>(
    answer: Result<T, eventlogger::Error<types::Problem>>,
    status: u16,
    code: &str,
) -> Outcome<types::Problem> {
    match answer {
        Err(eventlogger::Error::ErrorResponse(answer)) => {
            let seen = (answer.status().as_u16(), i64::from(answer.status), answer.code.as_str());
            assert_eq!(seen, (status, status.into(), code));
            Ok(answer.into_inner())
        }
        other => Err(format!("expected {code}, got {other:?}").into()),
    }
}

async fn errors_are_typed(client: &Client) -> Outcome {
    let wrong = basic("admin", "wrong")?;
    problem(wrong.query_events().send().await, 401, "invalid_credentials")?;

    let reader = api(&format!("Bearer {}", env::var("READER_TOKEN")?))?;
    let forbidden = problem(reader.record_event().body(account_event(1)).send().await, 403, "role_missing")?;
    assert_eq!(forbidden.role.as_deref(), Some("writer"));

    let keyed = || client.record_event().idempotency_key(Uuid::from_u128(7).to_string());
    let first = keyed().body(account_event(1346)).send().await?;
    let conflict = problem(keyed().body(account_event(1)).send().await, 409, "idempotency_conflict")?;
    assert_eq!(conflict.id, Some(first.id));

    let invalid = account_event(1).event_type("eventlogger.mine");
    let refused = client.record_event().body(invalid.clone()).send().await;
    let refused = problem(refused, 422, "reserved_event_type")?;
    assert_eq!(refused.errors[0].pointer.as_deref(), Some("/event_type"));
    let batch = client.record_batch().body(vec![types::NewEvent::try_from(invalid)?]).send().await;
    let batch = problem(batch, 422, "batch_rejected")?;
    assert_eq!(batch.errors[0].pointer.as_deref(), Some("/0/event_type"));
    problem(client.get_event().id(Uuid::from_u128(1)).send().await, 404, "not_found")?;
    Ok(())
}
