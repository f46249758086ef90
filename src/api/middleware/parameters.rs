//! Where an operation's parameters are fixed, an unknown or repeated one is a mistake, not noise: the
//! misspelt `receit=none` must not silently mean its default. Nor is a value guessed that is none of those there are.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use http::StatusCode;
use percent_encoding::percent_decode_str;
use poem::{Endpoint, Request, Response, Result};

use crate::{
    api::{
        problem::{Fault, Problem},
        route_table::{QueryParameter, RouteTable},
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

fn first_fault(query: &str, known: &[QueryParameter]) -> Option<Fault> {
    let mut seen = HashSet::new();
    query.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name);
        let Some(parameter) = known.iter().find(|known| known.name == name) else {
            let fault = Fault::parameter(name.as_ref(), "this operation has no such parameter");
            return Some(hinting(fault, &name, known.iter().map(|known| known.name.as_str())));
        };
        if !seen.insert(name) {
            return Some(Fault::parameter(&parameter.name, "the parameter is repeated"));
        }
        let value = decoded(value);
        let is_possible = parameter.values.is_empty() || parameter.values.iter().any(|known| *known == value);
        (!is_possible).then(|| {
            let expected = format!("expected one of: {}", parameter.values.join(", "));
            let values = parameter.values.iter().map(String::as_str);
            hinting(Fault::parameter(&parameter.name, expected), &value, values)
        })
    })
}

/// With the word that was probably meant.
fn hinting<'a>(fault: Fault, word: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    match nearest_name(word, known) {
        Some(near) => fault.hint(near),
        None => fault,
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(query: &str) -> Option<(String, Option<String>)> {
        let values = vec!["full".to_owned(), "none".to_owned()];
        let receipt = QueryParameter { name: "receipt".to_owned(), values };
        let known = [receipt, QueryParameter { name: "atomic".to_owned(), values: Vec::new() }];
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
        assert_eq!(fault("receipt=none&rece%69pt=full"), Some(("receipt".to_owned(), None)));
    }

    #[test]
    fn a_value_is_one_of_those_there_are() {
        assert_eq!(fault("receipt=f%75ll"), None);
        assert_eq!(fault("receipt=nome"), Some(("receipt".to_owned(), Some("none".to_owned()))));
        for other in ["receipt=everything", "receipt=", "receipt", "receipt=NONE+"] {
            assert!(fault(other).is_some(), "{other}");
        }
        assert_eq!(fault("atomic=anything"), None, "that is for the operation to say");
    }
}
