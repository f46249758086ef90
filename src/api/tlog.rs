//! `/tlog/<tenant>`: a log in the public formats of C2SP tlog-tiles, for tools that we did not write. It holds
//! commitments and hashes, never content.

use std::collections::HashMap;
use std::sync::Arc;

use http::{Method, StatusCode};
use poem::Request;
use poem::endpoint::BoxEndpoint;
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::{Binary, PlainText};
use poem_openapi::registry::{MetaApi, MetaOperationParam, MetaParamIn, Registry};
use poem_openapi::types::Type as _;
use poem_openapi::{ApiResponse, OpenApi};

use super::caller::{self, Visitor};
use super::integrity::{refused, unproved};
use super::problem::{Denied, Fault, Problem};
use super::query::problems;
use crate::auth::name::check_tenant_name;
use crate::auth::{AuthError, Role, Tenant};
use crate::integrity::Integrity;
use crate::merkle::TileId;
use crate::store::principals::find_tenant;
use crate::store::{Store, events};
use crate::tlog::{TileKind, TilePath, bundle};

pub struct TlogApi(Operations);

impl TlogApi {
    pub fn new(integrity: Arc<Integrity>, store: Store) -> Self {
        Self(Operations { integrity, store })
    }
}

/// As derived, but for the rest of a path, which poem takes and poem-openapi cannot say.
impl OpenApi for TlogApi {
    fn meta() -> Vec<MetaApi> {
        let mut apis = Operations::meta();
        for path in apis.iter_mut().flat_map(|api| &mut api.paths) {
            if let Some(prefix) = path.path.strip_suffix("/*path") {
                path.path = format!("{prefix}/{{path}}");
                path.operations.iter_mut().for_each(|operation| operation.params.push(rest_of_path()));
            }
        }
        apis
    }

    fn register(registry: &mut Registry) {
        Operations::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        self.0.add_routes(routes);
    }
}

struct Operations {
    integrity: Arc<Integrity>,
    store: Store,
}

fn rest_of_path() -> MetaOperationParam {
    MetaOperationParam {
        name: "path".to_owned(),
        schema: String::schema_ref(),
        in_type: MetaParamIn::Path,
        description: Some("`<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`, its slashes as they are.".to_owned()),
        required: true,
        deprecated: false,
        explode: true,
        style: None,
    }
}

#[derive(ApiResponse)]
enum CheckpointAnswer {
    /// The current signed tree head.
    #[oai(status = 200)]
    Checkpoint(
        PlainText<String>,
        /// Soon there is a newer one.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[derive(ApiResponse)]
enum TileAnswer {
    /// Hashes of 32 bytes, or entries that each follow their length in two bytes.
    #[oai(status = 200)]
    Tile(
        Binary<Vec<u8>>,
        /// It will never change.
        #[oai(header = "Cache-Control")]
        String,
        /// Names these bytes.
        #[oai(header = "ETag")]
        String,
    ),
    /// The client has it already.
    #[oai(status = 304)]
    NotModified,
}

/// A log that may be shown, and to whom else its answers may be shown.
struct Shown {
    tenant: Arc<Tenant>,
    is_public: bool,
}

#[OpenApi(tag = "super::Tag::Proving")]
impl Operations {
    /// Read the checkpoint of a log
    ///
    /// C2SP tlog-checkpoint: a signed note. `/tlog/{tenant}` is the prefix of the log while its epoch is 0; later it
    /// is `/tlog/{tenant}/e{epoch}`.
    #[oai(path = "/tlog/:tenant/checkpoint", method = "get", operation_id = "get_tlog_checkpoint")]
    async fn checkpoint(
        &self,
        visitor: Visitor,
        /// The log's tenant.
        tenant: Path<String>,
    ) -> Result<CheckpointAnswer, Problem> {
        self.checkpoint_in(&visitor, &tenant, FIRST_EPOCH).await
    }

    /// Read the checkpoint of a log in an epoch
    #[oai(
        path = "/tlog/:tenant/:epoch/checkpoint",
        method = "get",
        operation_id = "get_tlog_epoch_checkpoint"
    )]
    async fn epoch_checkpoint(
        &self,
        visitor: Visitor,
        /// The log's tenant.
        tenant: Path<String>,
        /// `e` and the number of the epoch.
        epoch: Path<String>,
    ) -> Result<CheckpointAnswer, Problem> {
        self.checkpoint_in(&visitor, &tenant, &epoch).await
    }

    /// Read a tile or the entries under it
    ///
    /// C2SP tlog-tiles: `tile/<L>/<N>[.p/<W>]` and `tile/entries/<N>[.p/<W>]`.
    #[oai(path = "/tlog/:tenant/tile/*path", method = "get", operation_id = "get_tlog_tile")]
    async fn tile(
        &self,
        request: &Request,
        visitor: Visitor,
        /// The log's tenant.
        tenant: Path<String>,
        /// An `ETag` that this answered with before.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<TileAnswer, Problem> {
        self.tile_in(request, &visitor, &tenant, FIRST_EPOCH, if_none_match.0).await
    }

    /// Read a tile or the entries under it in an epoch
    #[oai(path = "/tlog/:tenant/:epoch/tile/*path", method = "get", operation_id = "get_tlog_epoch_tile")]
    async fn epoch_tile(
        &self,
        request: &Request,
        visitor: Visitor,
        /// The log's tenant.
        tenant: Path<String>,
        /// `e` and the number of the epoch.
        epoch: Path<String>,
        /// An `ETag` that this answered with before.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
    ) -> Result<TileAnswer, Problem> {
        self.tile_in(request, &visitor, &tenant, &epoch, if_none_match.0).await
    }
}

impl Operations {
    async fn checkpoint_in(
        &self,
        visitor: &Visitor,
        tenant: &str,
        epoch: &str,
    ) -> Result<CheckpointAnswer, Problem> {
        let shown = self.log(visitor, tenant).await?;
        let head = self.integrity.checkpoint(&shown.tenant).await.map_err(refused)?;
        check_epoch(&shown.tenant, epoch, head.epoch)?;
        Ok(CheckpointAnswer::Checkpoint(PlainText(head.note.to_string()), shown.cached("max-age=1")))
    }

    async fn tile_in(
        &self,
        request: &Request,
        visitor: &Visitor,
        tenant: &str,
        epoch: &str,
        known: Option<String>,
    ) -> Result<TileAnswer, Problem> {
        let shown = self.log(visitor, tenant).await?;
        let current = events::epoch(&self.store.query, shown.tenant.id).await.map_err(problems::read)?;
        check_epoch(&shown.tenant, epoch, current)?;
        let path = request.raw_path_param("path").unwrap_or_default();
        let path: TilePath = format!("tile/{path}").parse().map_err(|error| bad_path(&error))?;
        let etag = format!("\"{}/e{current}/{path}\"", shown.tenant.log_id);
        let bytes = self.read(&shown.tenant, &path).await?;
        // Whoever names it has read it; whether it exists is looked at all the same.
        if known.is_some_and(|known| known.contains(&etag)) {
            return Ok(TileAnswer::NotModified);
        }
        Ok(TileAnswer::Tile(Binary(bytes), shown.cached("max-age=31536000, immutable"), etag))
    }

    async fn read(&self, tenant: &Tenant, path: &TilePath) -> Result<Vec<u8>, Problem> {
        let width = path.width();
        match path.kind {
            TileKind::Hashes { level } => {
                let tile = TileId { level, index: path.index };
                let hashes = self.integrity.tile(tenant, tile, width).await.map_err(unproved)?;
                Ok(hashes.concat())
            }
            TileKind::Entries => {
                let entries = self.integrity.entries(tenant, path.index, width).await.map_err(unproved)?;
                bundle(&entries).map_err(|error| Problem::internal(&error))
            }
        }
    }

    /// The log, if this visitor may see it. To nobody, a log that is not open is as unknown as one that is not there.
    async fn log(&self, visitor: &Visitor, name: &str) -> Result<Shown, Problem> {
        if let Some(caller) = visitor.0.as_ref().filter(|caller| caller.tenant.name == name) {
            return Ok(Shown { tenant: Arc::clone(&caller.tenant), is_public: false });
        }
        let is_possible = check_tenant_name(name).is_ok();
        let found = match is_possible {
            true => find_tenant(&self.store.query, name).await.map_err(|error| Problem::database(&error))?,
            false => None,
        };
        let is_public = found.as_ref().is_some_and(|tenant| tenant.public_proofs);
        match &visitor.0 {
            None if !is_public => Err(caller::refusal(AuthError::Missing)),
            Some(caller) if !is_public && !caller.roles.contains(Role::Superadmin) => {
                let refused = no_log();
                Err(if is_possible { refused.denying(Denied::Tenant(name.to_owned())) } else { refused })
            }
            _ => {
                let tenant = found.ok_or_else(no_log)?;
                Ok(Shown { tenant: Arc::new(tenant.into()), is_public })
            }
        }
    }
}

impl Shown {
    fn cached(&self, how: &str) -> String {
        format!("{}, {how}", if self.is_public { "public" } else { "private" })
    }
}

/// In the address of a log whose epoch is 0 there is none.
const FIRST_EPOCH: &str = "e0";

fn check_epoch(tenant: &Tenant, asked: &str, current: i32) -> Result<(), Problem> {
    if asked == format!("e{current}") {
        return Ok(());
    }
    let prefix = match current {
        0 => format!("/tlog/{}", tenant.name),
        _ => format!("/tlog/{}/e{current}", tenant.name),
    };
    let detail = format!("This is not the current epoch of the log, which is served under {prefix}.");
    Err(Problem::new(StatusCode::NOT_FOUND, "other_epoch", detail).with("prefix", prefix))
}

fn no_log() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_log", "There is no such log, or it is not yours to see.")
}

fn bad_path(error: &impl std::fmt::Display) -> Problem {
    let problem = Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_tile",
        "There are tiles under tile/<L>/<N>[.p/<W>] and tile/entries/<N>[.p/<W>], with N such as 067 or x001/x234/067.",
    );
    problem.with_fault(Fault::parameter("path", error.to_string()))
}
