//! The query string of a search. Any name may stand in it, so it is one parameter to poem-openapi.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use super::problems;
use crate::api::links;
use crate::api::problem::Problem;
use crate::query::{Fault, Search, params};

pub(super) struct UrlSearch {
    pub(super) search: Search,
    path: String,
    pairs: Vec<(String, String)>,
}

impl UrlSearch {
    fn new(path: &str, pairs: Vec<(String, String)>) -> Result<Self, Vec<Fault>> {
        let search = params::parse(&pairs)?;
        Ok(Self { search, path: path.to_owned(), pairs })
    }

    /// The URL of the same search at another cursor, relative to the server.
    pub(super) fn with_cursor(&self, cursor: &str) -> String {
        links::with_parameter(&self.path, &self.pairs, "cursor", cursor)
    }
}

/// A query string in which any name may stand, by its names and values.
pub(in crate::api) struct AnyNames {
    path: String,
    pub(in crate::api) pairs: Vec<(String, String)>,
}

impl AnyNames {
    pub(super) fn search(self) -> Result<UrlSearch, Problem> {
        UrlSearch::new(&self.path, self.pairs).map_err(|faults| problems::invalid_query(&faults))
    }
}

impl<'a> ApiExtractor<'a> for AnyNames {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];

    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Query)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        let mut schema = MetaSchema::new("object");
        schema.additional_properties = Some(Box::new(String::schema_ref()));
        Some(MetaSchemaRef::Inline(Box::new(schema)))
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self { path: request.original_uri().path().to_owned(), pairs: request.params()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> UrlSearch {
        let request = Request::builder().uri(uri.parse().unwrap()).finish();
        UrlSearch::new(request.uri().path(), request.params().unwrap()).unwrap()
    }

    #[test]
    fn the_next_url_is_the_same_search_at_another_cursor() {
        let uri = "/api/v1/events?user=Zo%C3%AB+%26&%22a.b%22=1&from=2026-01-01T00:00:00%2B01:00&cursor=old";
        let first = read(uri);
        let next = first.with_cursor("new-1_");
        assert_eq!(
            next,
            "/api/v1/events?user=Zo%C3%AB%20%26&%22a.b%22=1&from=2026-01-01T00:00:00%2B01:00&cursor=new-1_"
        );
        let followed = read(&next);
        assert_eq!(followed.search, Search { cursor: Some("new-1_".to_owned()), ..first.search });
    }

    #[test]
    fn a_url_without_parameters_is_a_search_for_everything() {
        assert_eq!(read("/events").with_cursor("c"), "/events?cursor=c");
    }
}
