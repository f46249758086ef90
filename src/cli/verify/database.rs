//! `eventlogger verify --database`

use std::path::Path;

use super::show;
use super::{Failure, Kept, Options};
use crate::app::{self, Database};
use crate::auth::Tenant;
use crate::cli::arguments::require_tenant;
use crate::cli::block_on;
use crate::cli::watch::Watch;
use crate::config::{Client, Config, Log};
use crate::store::principals::list_tenants;
use crate::telemetry;
use crate::tlog::Policy;
use crate::walk::{Report, database};

pub(super) fn run(options: &Options, file: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(file)?;
    let client = Client::load()?;
    let policy = options.policy()?;
    // A statement lasts as long as what it reads takes to be checked; that is no slow statement.
    telemetry::init(&Log { filter: "warn,sqlx::query=error".to_owned(), ..config.log.clone() })?;
    block_on(async {
        let database = app::open_store_as_it_is(&config).await?;
        let reports = walk_all(options, &database, &client, policy.as_ref()).await;
        database.close().await;
        show::conclude(&reports?, options.json)
    })
}

async fn walk_all(
    options: &Options,
    database: &Database,
    client: &Client,
    policy: Option<&Policy>,
) -> Result<Vec<Report>, Failure> {
    let tenants = tenants(options, database).await?;
    if options.state.is_some() && tenants.len() > 1 {
        let what = "--state is one file for one log: name it with --tenant";
        return Err(Failure::Input(anyhow::anyhow!(what)));
    }
    let mut reports = Vec::new();
    for tenant in tenants {
        let kept = Kept::read(options.state(client, policy, &tenant.name))?;
        let watch = Watch::begin(&tenant.name);
        let report =
            database::walk(&database.store.checks, &tenant, kept.trusted(policy), watch.progress()).await;
        watch.end().await;
        let report = report.map_err(|error| Failure::Database(error.into()))?;
        kept.keep(&report)?;
        reports.push(report);
    }
    Ok(reports)
}

async fn tenants(options: &Options, database: &Database) -> Result<Vec<Tenant>, Failure> {
    let pool = &database.store.checks;
    for name in &options.tenants {
        require_tenant(pool, name).await?;
    }
    let all = list_tenants(pool).await.map_err(|error| Failure::Database(error.into()))?;
    let wanted = |name: &String| options.tenants.is_empty() || options.tenants.contains(name);
    Ok(all.into_iter().filter(|tenant| wanted(&tenant.name)).map(Tenant::from).collect())
}
