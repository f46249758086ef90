//! What happens every day: people log in and work, customers pay, jobs run.

use serde_json::{Value, json};

use super::draft::Draft;
use super::people::{CUSTOMERS, Customer, PEOPLE, Person};
use super::random::Random;
use super::{DAY, DAYS, HOUR, SECOND, Story};

/// No scene takes longer, so that none goes on after the story has ended.
const LONGEST: i64 = HOUR;
const PRICES: [f64; 8] = [4.5, 12.0, 19.9, 49.9, 99.0, 149.5, 480.0, 1250.0];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0",
    "Mozilla/5.0 (Macintosh) Safari/605.1",
    "acme-mobile/7.3.1",
];
const PAGES: [&str; 5] = ["orders", "invoices", "customers", "stock", "settings"];
const JOBS: [&str; 4] = ["nightly-backup", "invoice-run", "stock-sync", "mail-digest"];

/// One scene of the days, the same for the same story and number.
pub(super) fn scene(story: &Story, number: u64) -> Vec<Draft> {
    let mut random = Random::new(story.seed, number);
    let at = moment(story, &mut random);
    let correlation_id = format!("req-{:012x}", random.next() >> 16);
    let person = random.pick(&PEOPLE);
    let customer = random.pick(&CUSTOMERS);
    let mut scene = Scene { random, at, correlation_id, person, customer, drafts: Vec::new() };
    match scene.random.below(100) {
        0..30 => scene.session(),
        30..38 => scene.mistyped_login(),
        38..60 => scene.payment(),
        60..65 => scene.refund(),
        65..75 => scene.customer_moved(),
        75..84 => scene.job(),
        84..89 => scene.denial(),
        89..94 => scene.export(),
        94..97 => scene.role_change(),
        _ => scene.stranger(),
    }
    scene.drafts
}

/// Most of it by day, and on working days.
fn moment(story: &Story, random: &mut Random) -> i64 {
    let span = (DAYS * DAY - LONGEST - SECOND) as u64;
    let mut at = 0;
    for _ in 0..6 {
        at = story.begin.as_micros() + SECOND + random.below(span) as i64;
        let hour = at.rem_euclid(DAY) / HOUR;
        // 1970 began on a Thursday.
        let is_weekend = (at.div_euclid(DAY) + 3).rem_euclid(7) >= 5;
        let chance = if (7..18).contains(&hour) { 100 } else { 15 };
        if random.percent(if is_weekend { chance / 4 } else { chance }) {
            break;
        }
    }
    at
}

struct Scene {
    random: Random,
    at: i64,
    correlation_id: String,
    person: &'static Person,
    customer: &'static Customer,
    drafts: Vec<Draft>,
}

impl Scene {
    /// The next event, a while after the one before.
    fn draft(&mut self, event_type: &str, user: &str, source: &str, message: &str) -> Draft {
        self.at += 20_000 + self.random.below(9 * SECOND as u64) as i64;
        Draft::new(self.at, event_type, user, source, message).correlation(&self.correlation_id)
    }

    fn by_person(&mut self, event_type: &str, source: &str, message: &str) -> Draft {
        self.draft(event_type, self.person.login, source, message).ip(self.person.ip)
    }

    fn push(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    fn login(&mut self) {
        let message = format!("{} logged in", self.person.name);
        let agent = *self.random.pick(&AGENTS);
        let draft = self.by_person("login", "web", &message).outcome("success");
        let data = json!({ "method": "password", "client": { "agent": agent }, "team": self.person.team, "tags": ["login"] });
        self.push(draft.target(format!("user/{}", self.person.login)).data(data));
    }

    fn session(&mut self) {
        self.login();
        for _ in 0..=self.random.below(3) {
            let (page, millis) = (*self.random.pick(&PAGES), 3 + self.random.below(240));
            let message = format!("{} opened {page}", self.person.name);
            let request = json!({ "method": "GET", "path": format!("/{page}"), "duration_ms": millis });
            let draft = self.by_person("page_opened", "web", &message).level("DEBUG").outcome("success");
            self.push(draft.target(format!("page/{page}")).data(json!({ "request": request })));
        }
        let message = format!("{} logged out", self.person.name);
        let draft = self.by_person("logout", "web", &message).outcome("success");
        self.push(draft);
    }

    fn mistyped_login(&mut self) {
        let message = format!("{} could not log in: wrong password", self.person.name);
        for attempt in 1..=1 + self.random.below(2) {
            let draft = self.by_person("login", "web", &message).level("WARN").outcome("failure");
            let data = json!({ "reason": "wrong_password", "attempt": attempt, "tags": ["login"] });
            self.push(draft.target(format!("user/{}", self.person.login)).data(data));
        }
        self.login();
    }

    /// Somebody who is nobody here.
    fn stranger(&mut self) {
        let draft = self.draft("login", "anonymous", "api", "A token that does not exist was presented");
        let address = format!("2001:db8:dead::{:x}", 1 + self.random.below(0xfff));
        let data = json!({ "reason": "unknown_token", "tags": ["login"] });
        self.push(draft.level("WARN").outcome("failure").ip(address).data(data));
    }

    /// What a payment is about.
    fn order(&mut self) -> (u64, f64, Value) {
        let number = 70_000 + self.random.below(20_000);
        let amount = *self.random.pick(&PRICES);
        let Customer { id, name, city, country, currency, tags } = self.customer;
        let data = json!({
            "order": number,
            "amount": amount,
            "currency": currency,
            "account_id": id,
            "customer": name,
            "address": { "city": city, "country": country },
            "tags": tags,
        });
        (number, amount, data)
    }

    fn payment(&mut self) {
        let (number, amount, data) = self.order();
        let Customer { id, name, currency, .. } = self.customer;
        let target = format!("account/{id}");
        let request = json!({ "request": { "method": "POST", "path": "/payments" }, "order": number });
        let draft =
            self.draft("payment_requested", "checkout", "api", &format!("Order {number} is to be paid"));
        self.push(draft.level("DEBUG").outcome("success").target(&*target).data(request));
        if self.random.percent(12) {
            let message = format!("Payment of {amount:.2} {currency} by {name} failed: card declined");
            let draft = self.draft("payment_failed", "checkout", "billing", &message);
            self.push(draft.level("ERROR").outcome("failure").target(target).data(data));
        } else {
            let message = format!("{name} paid {amount:.2} {currency} for order {number}");
            let draft = self.draft("payment_captured", "checkout", "billing", &message);
            self.push(draft.outcome("success").target(target).data(data));
        }
    }

    fn refund(&mut self) {
        let (number, amount, data) = self.order();
        let Customer { id, name, currency, .. } = self.customer;
        let message =
            format!("{} refunded {amount:.2} {currency} to {name} for order {number}", self.person.name);
        let draft = self.by_person("payment_refunded", "billing", &message).level("NOTICE");
        self.push(draft.outcome("success").target(format!("account/{id}")).data(data));
    }

    fn customer_moved(&mut self) {
        let Customer { id, name, city, country, tags, .. } = self.customer;
        let message = format!("{} changed the address of {name} to {city}", self.person.name);
        let street = format!("{} Harbour Street", 1 + self.random.below(180));
        let data = json!({
            "account_id": id,
            "customer": name,
            "address": { "city": city, "country": country, "street": street },
            "changes": { "address.street": { "from": "1 Old Lane", "to": street } },
            "tags": tags,
        });
        let draft = self.by_person("customer_changed", "web", &message).outcome("success");
        self.push(draft.target(format!("account/{id}")).data(data));
    }

    fn job(&mut self) {
        let (job, items) = (*self.random.pick(&JOBS), 50 + self.random.below(4_000));
        let begun = self.draft("job_started", "system", "batch", &format!("{job} started"));
        self.push(begun.target(format!("job/{job}")).data(json!({ "job": job, "tags": ["batch"] })));
        let (event_type, level, outcome, end) = match self.random.below(20) {
            0 => ("job_failed", "ERROR", "failure", "failed: the disk is full"),
            1 => ("job_lost", "CRITICAL", "unknown", "has not been heard of since"),
            _ => ("job_finished", "INFO", "success", "finished"),
        };
        self.at += self.random.below(1_800) as i64 * SECOND;
        let ended = self.draft(event_type, "system", "batch", &format!("{job} {end}"));
        let data = json!({ "job": job, "items": items, "tags": ["batch"] });
        self.push(ended.level(level).outcome(outcome).target(format!("job/{job}")).data(data));
    }

    fn denial(&mut self) {
        let page = *self.random.pick(&["payroll", "payout-accounts", "audit-settings"]);
        let message = format!("{} may not open {page}", self.person.name);
        let data = json!({ "needed_role": "admin", "had_roles": [self.person.team] });
        let draft = self.by_person("access_denied", "admin", &message).level("WARN").outcome("denied");
        self.push(draft.target(page).data(data));
    }

    fn export(&mut self) {
        let rows = 20 + self.random.below(900);
        let what = *self.random.pick(&["orders", "invoices", "stock"]);
        let message = format!("{} exported {rows} {what}", self.person.name);
        let data = json!({ "rows": rows, "bytes": rows * 211, "format": "csv", "tags": ["export"] });
        let draft = self.by_person("export", "api", &message).outcome("success");
        self.push(draft.target(what).data(data));
    }

    fn role_change(&mut self) {
        let admin = super::people::ADMIN;
        let (from, to) =
            *self.random.pick(&[("support", "finance"), ("sales", "support"), ("analytics", "sales")]);
        let message = format!("{} gave {} the role {to}", admin.name, self.person.name);
        let data = json!({ "changes": { "role": { "from": from, "to": to } }, "tags": ["roles"] });
        let draft = self.draft("role_granted", admin.login, "admin", &message).ip(admin.ip);
        let target = format!("user/{}", self.person.login);
        self.push(draft.level("NOTICE").outcome("success").target(target).data(data));
    }
}
