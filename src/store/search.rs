//! Running a search, at a cost that is bounded whatever it asks for.
//!
//! Where an index gives what matches in the order that is asked for, one statement finds the page. Else the planner is
//! asked what all that match would cost: if that is little, they are found first and then put in order (a fence); if not,
//! the log is walked from where the page begins, some rows at a time, until the page is full or its time is up. Then the
//! page ends where the walk did, and the next one goes on from there.

use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use sqlx::types::ipnetwork::IpNetwork;
use sqlx::{Arguments as _, ConnectOptions as _, Connection as _, Executor as _, FromRow, PgPool, Postgres};
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::warn;

use super::events::{EventRow, Page, ReadError};
use super::read::{bounded, read};
use crate::event::{Event, Timestamp};
use crate::query::compile::{self, Bind, PAGE_MAX_BYTES, Quota, Sql};
use crate::query::{Position, Search};

/// How long a page looks for more.
const WALK_FOR: Duration = Duration::from_millis(500);
/// Rows that a walk looks at in a statement; few at first, as most searches find what they want soon.
const FIRST_ROWS: i64 = 1_000;
const FEWEST_ROWS: i64 = 100;
const MOST_ROWS: i64 = 20_000;
/// How long a statement of a walk should take.
const STEP_FOR: Duration = Duration::from_millis(100);
/// What the planner may expect of a fence: rows, and its own units of cost. It errs, so there is a time limit as well.
const FENCE_ROWS: f64 = 20_000.0;
const FENCE_COST: f64 = 40_000.0;
/// The same once a walk has found too little.
const LATE_FENCE_ROWS: f64 = 200_000.0;
const LATE_FENCE_COST: f64 = 400_000.0;
const FENCE_FOR: Duration = Duration::from_secs(1);

/// The page after `after`; its first event is on it whatever its size.
pub(super) async fn page(
    pool: &PgPool,
    tenant_id: i32,
    search: &Search,
    after: Option<Position>,
) -> Result<Page, ReadError> {
    bounded(pool, async {
        let mut finding = Finding {
            tenant_id,
            search,
            after,
            events: Vec::new(),
            bytes: 0,
            session: Some(Session::open(pool).await?),
            pool,
        };
        let page = finding.page().await;
        // Whatever it came to, nothing is under way any more.
        finding.session.take().into_iter().for_each(Session::finish);
        page
    })
    .await
}

/// A page that is being found.
struct Finding<'a> {
    tenant_id: i32,
    search: &'a Search,
    /// Behind what has been looked at.
    after: Option<Position>,
    events: Vec<Event>,
    bytes: i64,
    pool: &'a PgPool,
    /// `None` once its statement was given up, until there is another.
    session: Option<Session>,
}

/// What the planner expects of a statement.
#[derive(Clone, Copy)]
struct Estimate {
    rows: f64,
    cost: f64,
}

impl Finding<'_> {
    async fn page(&mut self) -> Result<Page, ReadError> {
        if self.search.is_in_order_of_an_index() {
            let sql = compile::page(self.tenant_id, self.search, self.after, self.quota());
            let more = self.take(&sql).await?;
            return Ok(self.ended(more, None));
        }
        let estimate = self.estimate().await?;
        if estimate.is_within(FENCE_ROWS, FENCE_COST)
            && let Some(page) = self.fence().await?
        {
            return Ok(page);
        }
        self.walk(estimate).await
    }

    async fn walk(&mut self, estimate: Estimate) -> Result<Page, ReadError> {
        let started = Instant::now();
        let mut rows = FIRST_ROWS;
        loop {
            let step = Instant::now();
            // Its end is settled first: between two statements events may come, and a step by their number would end
            // elsewhere.
            let end = self.last_walked(rows).await?;
            let sql = compile::walk(self.tenant_id, self.search, self.after, end, self.quota());
            if self.take(&sql).await? {
                return Ok(self.ended(true, None));
            }
            match end {
                None => return Ok(self.ended(false, None)),
                end => self.after = end,
            }
            if self.events.len() == usize::from(self.search.limit) || self.bytes >= PAGE_MAX_BYTES {
                return Ok(self.ended(false, self.after));
            }
            if started.elapsed() >= WALK_FOR {
                break;
            }
            rows = next_rows(rows, step.elapsed());
        }
        if estimate.is_within(LATE_FENCE_ROWS, LATE_FENCE_COST)
            && let Some(page) = self.fence().await?
        {
            return Ok(page);
        }
        Ok(self.ended(false, self.after))
    }

    /// `None` if it took too long: the planner was wrong.
    async fn fence(&mut self) -> Result<Option<Page>, ReadError> {
        let sql = compile::fence(self.tenant_id, self.search, self.after, self.quota());
        match timeout(FENCE_FOR, self.take(&sql)).await {
            Ok(more) => {
                let more = more?;
                Ok(Some(self.ended(more, None)))
            }
            Err(_) => {
                // With its session the statement ends; only then another is asked for, or all could wait for each other.
                self.session = None;
                Ok(None)
            }
        }
    }

    fn quota(&self) -> Quota {
        Quota {
            events: i64::from(self.search.limit) - self.events.len() as i64,
            bytes: PAGE_MAX_BYTES - self.bytes,
        }
    }

    /// Puts what a statement finds on the page; returns whether there was more than fits.
    async fn take(&mut self, sql: &Sql) -> Result<bool, ReadError> {
        let rows: Vec<PageRow> = prepare(sql)?.fetch_all(&mut *self.session().await?.connection).await?;
        let found = rows.first().map_or(0, |row| row.found);
        let more = usize::try_from(found).is_ok_and(|found| found > rows.len());
        self.bytes += rows.iter().map(|row| i64::from(row.bytes)).sum::<i64>();
        self.events.extend(rows.into_iter().filter_map(|row| row.event.into_event()));
        Ok(more)
    }

    async fn session(&mut self) -> Result<&mut Session, ReadError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::open(self.pool).await?,
        };
        Ok(self.session.insert(session))
    }

    async fn last_walked(&mut self, rows: i64) -> Result<Option<Position>, ReadError> {
        #[derive(FromRow)]
        struct Last {
            at: OffsetDateTime,
            seq: i64,
        }
        let sql = compile::last_walked(self.tenant_id, self.search, self.after, rows);
        let last: Option<Last> =
            prepare(&sql)?.fetch_optional(&mut *self.session().await?.connection).await?;
        Ok(last.and_then(|Last { at, seq }| Some(Position { at: Timestamp::try_from(at).ok()?, seq })))
    }

    async fn estimate(&mut self) -> Result<Estimate, ReadError> {
        let sql = compile::matching(self.tenant_id, self.search, self.after);
        let (plan,): (String,) = prepare(&sql)?.fetch_one(&mut *self.session().await?.connection).await?;
        Ok(Estimate::read(&plan).unwrap_or(Estimate { rows: f64::INFINITY, cost: f64::INFINITY }))
    }

    /// `walked_to`: where the page ends if there may be more that was not looked at.
    fn ended(&mut self, more: bool, walked_to: Option<Position>) -> Page {
        Page { events: std::mem::take(&mut self.events), more: more || walked_to.is_some(), walked_to }
    }
}

impl Estimate {
    /// The first line of a plan: `Append  (cost=0.42..8.44 rows=1 width=8)`.
    fn read(plan: &str) -> Option<Self> {
        let (_, rest) = plan.split_once("(cost=")?;
        let (_, rest) = rest.split_once("..")?;
        let (cost, rest) = rest.split_once(" rows=")?;
        let (rows, _) = rest.split_once(' ')?;
        Some(Self { rows: rows.parse().ok()?, cost: cost.parse().ok()? })
    }

    fn is_within(self, rows: f64, cost: f64) -> bool {
        self.rows <= rows && self.cost <= cost
    }
}

/// As many as should take a step's time, judging by the last; not suddenly many more.
fn next_rows(rows: i64, took: Duration) -> i64 {
    let fit = rows as f64 * STEP_FOR.as_secs_f64() / took.as_secs_f64().max(0.001);
    (fit as i64).clamp(FEWEST_ROWS, rows * 4).min(MOST_ROWS)
}

/// A session whose statement ends with the one who waits for it: dropping a statement alone would leave it running, for
/// a client that has gone.
struct Session {
    pool: PgPool,
    connection: PoolConnection<Postgres>,
    process: i32,
    is_finished: bool,
}

impl Session {
    async fn open(pool: &PgPool) -> Result<Self, ReadError> {
        let (connection, process) = read(pool, async || {
            let mut connection = pool.acquire().await?;
            let process = sqlx::query_scalar!(r#"SELECT pg_backend_pid() AS "process!""#);
            let process = process.fetch_one(&mut *connection).await?;
            Ok((connection, process))
        })
        .await?;
        Ok(Self { pool: pool.clone(), connection, process, is_finished: false })
    }

    fn finish(mut self) {
        self.is_finished = true;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // It is not the pool's any more, as it may be in the middle of an answer.
        self.connection.close_on_drop();
        let (options, process) = (self.pool.connect_options(), self.process);
        // Of its own: all sessions of the pool may be in this state.
        tokio::spawn(async move {
            let cancelled = async {
                let mut connection = options.connect().await?;
                connection.execute(sqlx::query!("SELECT pg_cancel_backend($1)", process)).await?;
                connection.close().await
            };
            if let Err(error) = cancelled.await {
                warn!(%error, "a search that nobody waits for could not be ended before its time");
            }
        });
    }
}

#[derive(FromRow)]
struct PageRow {
    /// How many there were before the page was cut to its size.
    found: i64,
    bytes: i32,
    #[sqlx(flatten)]
    event: EventRow,
}

type Prepared<'q, Row> = QueryAs<'q, Postgres, Row, PgArguments>;

fn prepare<Row: for<'r> FromRow<'r, PgRow>>(sql: &Sql) -> Result<Prepared<'_, Row>, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for bind in sql.binds() {
        add(&mut arguments, bind).map_err(sqlx::Error::Encode)?;
    }
    #[expect(clippy::disallowed_methods, reason = "compiled SQL holds constant text and binds only")]
    let text = sqlx::AssertSqlSafe(sql.text());
    // Unnamed: always planned for these values, and the cache stays for fixed statements.
    Ok(sqlx::query_as_with(text, arguments).persistent(false))
}

fn add(arguments: &mut PgArguments, bind: &Bind) -> Result<(), sqlx::error::BoxDynError> {
    match bind {
        Bind::Int2(value) => arguments.add(value),
        Bind::Int4(value) => arguments.add(value),
        Bind::Int8(value) => arguments.add(value),
        Bind::Text(value) => arguments.add(value),
        Bind::Time(value) => arguments.add(OffsetDateTime::from(*value)),
        Bind::Network(value) => arguments.add(IpNetwork::new(value.address, value.prefix)?),
        Bind::Id(value) => arguments.add(value),
        Bind::Int2s(values) => arguments.add(values),
        Bind::Int8s(values) => arguments.add(values),
        Bind::Texts(values) => arguments.add(values),
        Bind::Times(values) => {
            arguments.add(values.iter().copied().map(OffsetDateTime::from).collect::<Vec<_>>())
        }
        Bind::Networks(values) => {
            let networks = values.iter().map(|value| IpNetwork::new(value.address, value.prefix));
            arguments.add(networks.collect::<Result<Vec<_>, _>>()?)
        }
        Bind::Ids(values) => arguments.add(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_takes_steps_of_equal_length() {
        let ms = Duration::from_millis;
        assert_eq!(next_rows(1_000, ms(1)), 4_000);
        assert_eq!(next_rows(1_000, ms(50)), 2_000);
        assert_eq!(next_rows(20_000, ms(10)), 20_000);
        assert_eq!(next_rows(20_000, ms(1_000)), 2_000);
        assert_eq!(next_rows(100, ms(10_000)), 100);
    }

    #[test]
    fn an_estimate_is_read_from_the_first_line_of_a_plan() {
        let read = |plan: &str| Estimate::read(plan).map(|estimate| (estimate.rows, estimate.cost));
        assert_eq!(read("Append  (cost=0.42..1234.56 rows=789 width=8)"), Some((789.0, 1234.56)));
        assert_eq!(read("Index Scan using x on y  (cost=0.42..8.44 rows=1 width=8)"), Some((1.0, 8.44)));
        assert_eq!(read("Result"), None);
    }
}
