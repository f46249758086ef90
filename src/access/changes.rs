//! Changes of users, tokens and tenants, from the table in which they wait into the log.
//!
//! Insert (in the change's own transaction) → record under the row's key → delete. Whoever dies in between, and
//! however many instances do this at once: the key is recorded once, and the row goes when it is.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Fate, Sources, events};
use crate::auth::Tenant;
use crate::event::{Invalid, NewEvent};
use crate::store::service_events::{self, ServiceEvent};

/// Rows that are moved at a time.
const BATCH: i64 = 500;
/// Rows that may be set aside; with as many, something is wrong with all of them.
const SET_ASIDE_MAX: usize = 1_000;

pub(super) struct Changes {
    /// Otherwise they are left to other instances, and to later.
    are_recorded: bool,
    /// Rows that cannot be recorded. They stay where they are, for somebody to look at, and are tried again when
    /// the service starts; meanwhile the others go past them.
    set_aside: Vec<i64>,
}

impl Changes {
    pub(super) fn new(are_recorded: bool) -> Self {
        Self { are_recorded, set_aside: Vec::new() }
    }

    /// Moves all that wait, as far as that is possible now.
    pub(super) async fn record(&mut self, sources: &Sources) -> sqlx::Result<()> {
        if !self.are_recorded {
            return Ok(());
        }
        let control = &sources.store.control;
        // What cannot be recorded now must not keep the rest from being looked at.
        let mut again = Vec::new();
        while self.set_aside.len() + again.len() < SET_ASIDE_MAX {
            let passed_over = [&self.set_aside[..], &again].concat();
            let rows = service_events::oldest(control, &passed_over, BATCH).await?;
            let found: Vec<i64> = rows.iter().map(|row| row.service_event_id).collect();
            let done = self.record_rows(sources, rows).await;
            if !done.is_empty() {
                service_events::delete(control, &done).await?;
            }
            if found.len() < BATCH as usize {
                break;
            }
            again.extend(found.into_iter().filter(|id| !done.contains(id) && !self.set_aside.contains(id)));
        }
        Ok(())
    }

    /// Returns the ids of those that are in the log.
    async fn record_rows(&mut self, sources: &Sources, rows: Vec<ServiceEvent>) -> Vec<i64> {
        let mut by_tenant: HashMap<i32, Vec<ServiceEvent>> = HashMap::new();
        for row in rows {
            by_tenant.entry(row.tenant_id).or_default().push(row);
        }
        let mut done = Vec::new();
        for rows in by_tenant.into_values() {
            let Some(tenant) = rows.first().map(tenant_of) else { continue };
            let (ids, events): (Vec<_>, Vec<_>) = rows.into_iter().filter_map(|row| self.event(row)).unzip();
            let fates = sources.record(&tenant, events).await;
            for (id, fate) in ids.into_iter().zip(fates) {
                match fate {
                    Fate::Recorded => done.push(id),
                    Fate::Lost(_) => self.set_aside.push(id),
                    Fate::Again => {}
                }
            }
        }
        done
    }

    fn event(&mut self, row: ServiceEvent) -> Option<(i64, NewEvent)> {
        let id = row.service_event_id;
        match events::change(row) {
            Ok(event) => Some((id, event)),
            Err(Invalid { detail, .. }) => {
                tracing::error!(service_event_id = id, detail, "a change cannot be recorded as an event");
                self.set_aside.push(id);
                None
            }
        }
    }
}

fn tenant_of(row: &ServiceEvent) -> Arc<Tenant> {
    Arc::new(Tenant { id: row.tenant_id, name: row.tenant.clone(), log_id: row.log_id })
}
