//! `eventlogger verify --url`

use super::show;
use super::{Failure, Kept, Options};
use crate::auth::DEFAULT_TENANT;
use crate::cli::block_on;
use crate::cli::watch::Watch;
use crate::config::{Client, Secret};
use crate::walk::client::{self, ClientError};
use crate::walk::server;

pub(super) fn run(url: &str, options: &Options) -> Result<(), Failure> {
    let environment = Client::load()?;
    let policy = options.policy()?;
    let tenant = match options.tenants.as_slice() {
        [] => DEFAULT_TENANT,
        [tenant] => tenant,
        _ => return Err(Failure::Input(anyhow::anyhow!("a server is asked for one log: give one --tenant"))),
    };
    let authorization = environment.authorization.as_ref().map(Secret::reveal);
    let client = client::Client::new(url, authorization, options.ca.as_deref())?;
    let kept = Kept::read(options.state(&environment, policy.as_ref(), tenant))?;
    block_on(async {
        let watch = Watch::begin(tenant);
        let report = server::walk(&client, tenant, kept.trusted(policy.as_ref()), watch.progress()).await;
        watch.end().await;
        let report = report?;
        kept.keep(&report)?;
        show::conclude(&[report], options.json)
    })
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Url { .. } | ClientError::Roots { .. } | ClientError::Credentials => {
                Self::Input(error.into())
            }
            // The reasons are in the text; the chain would repeat them.
            _ => Self::Database(anyhow::Error::msg(error.to_string())),
        }
    }
}
