//! Where an operation's parameters are fixed, an unknown or repeated one is a mistake, not noise: the
//! misspelt `receit=none` must not silently mean its default.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use http::StatusCode;
use percent_encoding::percent_decode_str;
use poem::{Endpoint, Request, Response, Result};

use crate::{
    api::{
        problem::{Fault, Problem},
        route_table::RouteTable,
    },
    event::nearest_name,
};

pub(crate) async fn check<E: Endpoint<Output = Response>>(
    next: Arc<E>,
    request: Request,
    routes: Arc<RouteTable>,
) -> Result<Response> {
    let uri = request.uri();
    if let Some(query) = uri.query()
        && let Some(known) = routes.query_parameters(uri.path(), request.method())
        && let Some(fault) = first_fault(query, known)
    {
        let detail = format!("{}: {}.", fault.parameter.as_deref().unwrap_or_default(), fault.detail);
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail)
            .with_fault(fault)
            .into());
    }
    next.call(request).await
}

fn first_fault(query: &str, known: &[String]) -> Option<Fault> {
    let mut seen = HashSet::new();
    query.split('&').filter(|pair| !pair.is_empty()).map(name).find_map(|name| {
        if !known.iter().any(|known| *known == name) {
            let fault = Fault::parameter(name.as_ref(), "this operation has no such parameter");
            return Some(match nearest_name(&name, known.iter().map(String::as_str)) {
                Some(near) => fault.hint(near),
                None => fault,
            });
        }
        let repeated = Fault::parameter(name.as_ref(), "the parameter is repeated");
        (!seen.insert(name)).then_some(repeated)
    })
}

fn name(pair: &str) -> Cow<'_, str> {
    percent_decode_str(pair.split_once('=').map_or(pair, |(name, _)| name)).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(query: &str) -> Option<(String, Option<String>)> {
        let known = ["receipt".to_owned(), "atomic".to_owned()];
        first_fault(query, &known).map(|fault| (fault.parameter.unwrap_or_default(), fault.hint))
    }

    #[test]
    fn a_misspelt_parameter_is_told_its_name() {
        assert_eq!(fault("receit=none"), Some(("receit".to_owned(), Some("receipt".to_owned()))));
        assert_eq!(fault("zzzzzz"), Some(("zzzzzz".to_owned(), None)));
    }

    #[test]
    fn a_parameter_may_be_given_once() {
        assert_eq!(fault("receipt=none&atomic=true"), None);
        assert_eq!(fault("receipt=none&rece%69pt=all"), Some(("receipt".to_owned(), None)));
    }
}
