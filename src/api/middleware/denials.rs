//! Whatever somebody known was refused, by the signature of an operation or within, is noted here.

use std::sync::Arc;

use poem::{Endpoint, Request, Response, Result};
use poem_openapi::OperationId;

use crate::{
    api::{
        caller::{Authenticator, CallerSlot, address},
        problem::{Denied, Problem},
    },
    auth::Wanted,
};

pub(crate) async fn note<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> Result<Response> {
    let from = address(&request);
    let caller = request.data::<CallerSlot>().cloned();
    let authenticator = request.data::<Authenticator>().cloned();
    let answer = next.call(request).await;
    if let Err(error) = &answer
        && let Some(denied) = error.downcast_ref::<Problem>().and_then(|problem| problem.denied.clone())
        && let (Some(authenticator), Some(caller)) =
            (authenticator, caller.as_ref().and_then(|slot| slot.get()))
    {
        let operation = || error.data::<OperationId>().map_or("", |operation| operation.0).to_owned();
        let wanted = match denied {
            Denied::Role(role) => Wanted::Operation { operation: operation(), role },
            Denied::Tenant(name) => Wanted::Tenant(name),
        };
        authenticator.note_denial(caller, from, wanted);
    }
    answer
}
