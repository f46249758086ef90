//! Roles are asked for before a handler runs (`caller`); that a change needs more than the caller has turns out
//! within. Such a denial is noted here, like all others.

use std::sync::Arc;

use poem::{Endpoint, Request, Response, Result};
use poem_openapi::OperationId;

use crate::{
    api::{
        accounts::SUPERADMIN_NEEDED,
        caller::{Authenticator, CallerSlot, address},
        problem::Problem,
    },
    auth::{Role, Wanted},
};

pub(crate) async fn note<E: Endpoint<Output = Response>>(next: Arc<E>, request: Request) -> Result<Response> {
    let from = address(&request);
    let caller = request.data::<CallerSlot>().cloned();
    let authenticator = request.data::<Authenticator>().cloned();
    let answer = next.call(request).await;
    if let Err(error) = &answer
        && error.downcast_ref::<Problem>().is_some_and(|problem| problem.code == SUPERADMIN_NEEDED)
        && let (Some(authenticator), Some(principal)) =
            (authenticator, caller.as_ref().and_then(|caller| caller.get()))
    {
        let operation = error.data::<OperationId>().map_or("", |operation| operation.0).to_owned();
        let wanted = Wanted::Operation { operation, role: Some(Role::Superadmin) };
        authenticator.note_denial(principal, from, wanted);
    }
    answer
}
