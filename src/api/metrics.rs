//! `/metrics`, in the text format that Prometheus and everything like it reads.

use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse, OpenApi,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
};

use http::StatusCode;

use super::{
    ApiState, Tag,
    caller::{AnyRole, Caller},
    problem::Problem,
};

pub(super) struct MetricsApi {
    pub state: ApiState,
}

#[OpenApi(tag = "Tag::Operations")]
impl MetricsApi {
    /// The service's figures for Prometheus
    ///
    /// For users of the tenant `default` and superadmins: the figures are of all tenants.
    #[oai(path = "/metrics", method = "get", operation_id = "get_metrics")]
    async fn metrics(&self, caller: Caller<AnyRole>) -> Result<OpenMetrics, Problem> {
        if !caller.is_operator() {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "operators_only",
                "These figures are of all tenants. Ask as a user of the tenant `default` or as a superadmin.",
            ));
        }
        self.state.probe.measure(&self.state.metrics);
        Ok(OpenMetrics(self.state.metrics.encode()))
    }
}

struct OpenMetrics(String);

impl Payload for OpenMetrics {
    const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new("string")))
    }
}

impl IntoResponse for OpenMetrics {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}

impl ApiResponse for OpenMetrics {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "OpenMetrics text",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() }],
                headers: vec![],
            }],
        }
    }

    fn register(_: &mut Registry) {}
}
