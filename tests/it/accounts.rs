//! The commands that manage tenants, users and tokens.

use clap::{FromArgMatches, Subcommand};
use eventlogger::auth::{Auth, AuthError, Settings, ensure_first_user};
use eventlogger::cli::{tenant, token, user};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use sqlx::PgPool;

use crate::account_events::{as_text, waiting};

crate::harness::database_tests![
    what_is_printed_once_can_be_used,
    a_password_comes_from_a_file_and_replaces_the_one_before,
    a_user_is_listed_disabled_and_removed,
    an_error_says_what_was_probably_meant,
    a_token_pasted_in_place_of_its_prefix_is_not_echoed,
    commands_leave_events_that_name_the_account_of_the_machine,
    the_first_user_is_an_event_of_the_system,
    rules_of_the_service_hold_for_commands_too,
];

/// Runs `user add ann …` as the command line would; the error is what the person reads.
async fn run(pool: &PgPool, line: &[&str]) -> Result<String, String> {
    let mut out = Vec::new();
    let outcome = match line[0] {
        "user" => user::run(parse(line)?, pool, &mut out).await,
        "token" => token::run(parse(line)?, pool, &mut out).await,
        "tenant" => tenant::run(parse(line)?, pool, &mut out).await,
        other => panic!("{other}"),
    };
    outcome.map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap())
}

fn parse<C: Subcommand + FromArgMatches>(line: &[&str]) -> Result<C, String> {
    let command = C::augment_subcommands(clap::Command::new("eventlogger"));
    command.clone().debug_assert();
    let matches = command.try_get_matches_from(line).map_err(|error| error.to_string())?;
    C::from_arg_matches(&matches).map_err(|error| error.to_string())
}

fn last_line(output: &str) -> &str {
    output.lines().last().unwrap()
}

async fn authenticate(pool: &PgPool, authorization: &str) -> Result<String, AuthError> {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())]);
    let auth = Auth::new(pool.clone(), Settings::default()).unwrap();
    auth.authenticate(&headers, None).await.map(|principal| principal.recorded_by())
}

fn basic(login: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}")))
}

async fn what_is_printed_once_can_be_used(pool: PgPool) {
    run(&pool, &["tenant", "add", "acme"]).await.unwrap();
    let added =
        run(&pool, &["user", "add", "ann", "--tenant", "acme", "--role", "reader,writer"]).await.unwrap();
    let login = basic("acme/ann", last_line(&added));
    assert_eq!(authenticate(&pool, &login).await.as_deref(), Ok("user:ann"));

    let line = ["user", "add", "robot", "--tenant", "acme", "--role", "writer", "--machine-secret"];
    let added = run(&pool, &line).await.unwrap();
    assert!(last_line(&added).starts_with("evls_"));
    assert_eq!(
        authenticate(&pool, &basic("acme/robot", last_line(&added))).await.as_deref(),
        Ok("user:robot")
    );

    let line =
        ["token", "create", "--owner", "ann", "--tenant", "acme", "--role", "reader", "--expires", "90d"];
    let created = run(&pool, &line).await.unwrap();
    let bearer = format!("Bearer {}", last_line(&created));
    let recorded_by = authenticate(&pool, &bearer).await.unwrap();
    let prefix = recorded_by.strip_prefix("token:ann/").unwrap();

    let listed = run(&pool, &["token", "list", "--tenant", "acme"]).await.unwrap();
    assert!(listed.contains(prefix) && !listed.contains(last_line(&created)), "{listed}");
    run(&pool, &["token", "revoke", prefix, "--tenant", "acme"]).await.unwrap();
    assert_eq!(authenticate(&pool, &bearer).await, Err(AuthError::Rejected));
    assert!(run(&pool, &["token", "list"]).await.unwrap().contains("revoked"));
}

async fn a_password_comes_from_a_file_and_replaces_the_one_before(pool: PgPool) {
    run(&pool, &["tenant", "add", "default"]).await.unwrap();
    let added = run(&pool, &["user", "add", "ann", "--role", "reader", "--generate"]).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "correct horse\n").unwrap();
    let path = file.path().to_str().unwrap();
    let changed = run(&pool, &["user", "password", "ann", "--password-file", path]).await.unwrap();
    assert!(!changed.contains("correct horse"), "a password that is known is not printed");
    assert_eq!(authenticate(&pool, &basic("ann", "correct horse")).await.as_deref(), Ok("user:ann"));
    assert_eq!(authenticate(&pool, &basic("ann", last_line(&added))).await, Err(AuthError::Rejected));

    let missing = run(&pool, &["user", "password", "ann", "--password-file", "/nowhere/x"]).await;
    assert!(missing.unwrap_err().contains("/nowhere/x cannot be opened"));
    let both = ["user", "password", "ann", "--generate", "--machine-secret"];
    assert!(run(&pool, &both).await.unwrap_err().contains("cannot be used with"));
}

async fn a_user_is_listed_disabled_and_removed(pool: PgPool) {
    run(&pool, &["tenant", "add", "default"]).await.unwrap();
    run(&pool, &["user", "add", "root", "--role", "admin"]).await.unwrap();
    run(&pool, &["user", "add", "Jane Doe", "--role", "reader", "--role", "auditor"]).await.unwrap();
    run(&pool, &["user", "disable", "Jane Doe"]).await.unwrap();
    let list = run(&pool, &["user", "list"]).await.unwrap();
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "TENANT", "ROLES", "STATE", "LOGIN", "CREATED"]);
    assert_eq!(lines[1][..5], ["Jane Doe", "default", "reader,auditor", "disabled", "password"]);

    run(&pool, &["user", "enable", "Jane Doe"]).await.unwrap();
    run(&pool, &["user", "roles", "Jane Doe", "--role", "writer"]).await.unwrap();
    let json = run(&pool, &["user", "list", "--tenant", "default", "--json"]).await.unwrap();
    let users: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(users[0]["state"], "enabled");
    assert_eq!(users[0]["roles"], serde_json::json!(["writer"]));

    run(&pool, &["user", "remove", "Jane Doe"]).await.unwrap();
    assert!(!run(&pool, &["user", "list"]).await.unwrap().contains("Jane"));
    let refused = run(&pool, &["user", "remove", "root"]).await.unwrap_err();
    assert!(refused.contains("last enabled admin"), "{refused}");
}

async fn an_error_says_what_was_probably_meant(pool: PgPool) {
    run(&pool, &["tenant", "add", "default"]).await.unwrap();
    run(&pool, &["user", "add", "billing", "--role", "writer"]).await.unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["user", "disable", "biling"], "did you mean \"billing\"?"),
        (&["user", "list", "--tenant", "defualt"], "did you mean \"default\"?"),
        (&["user", "add", "x", "--role", "writr"], "did you mean \"writer\"?"),
        (&["user", "add", "a/b", "--role", "writer"], "must not contain '/'"),
        (&["user", "add", "billing", "--role", "writer"], "exists already"),
        (&["tenant", "add", "Acme"], "a-z, 0-9 and '-'"),
        (&["tenant", "add", "default"], "exists already"),
        (&["token", "create", "--owner", "billing", "--role", "reader"], "does not have the role reader"),
        (&["token", "create", "--owner", "billing", "--role", "writer", "--expires", "90"], "90d"),
    ];
    for (line, expected) in cases {
        let error = run(&pool, line).await.unwrap_err();
        assert!(error.contains(expected), "{line:?}: {error}");
    }
}

async fn a_token_pasted_in_place_of_its_prefix_is_not_echoed(pool: PgPool) {
    run(&pool, &["tenant", "add", "default"]).await.unwrap();
    let error = run(&pool, &["token", "revoke", "evl_default_secret"]).await.unwrap_err();
    assert!(error.contains("PREFIX") && !error.contains("secret"), "{error}");
}

async fn commands_leave_events_that_name_the_account_of_the_machine(pool: PgPool) {
    run(&pool, &["tenant", "add", "default"]).await.unwrap();
    run(&pool, &["tenant", "add", "acme"]).await.unwrap();
    let mut secrets = Vec::new();
    for line in [
        &["user", "add", "root", "--role", "admin,superadmin"][..],
        &["user", "add", "ann", "--tenant", "acme", "--role", "writer"],
        &["user", "password", "ann", "--tenant", "acme", "--machine-secret"],
        &["token", "create", "--owner", "ann", "--tenant", "acme", "--role", "writer"],
    ] {
        secrets.push(last_line(&run(&pool, line).await.unwrap()).to_owned());
    }
    for line in [
        &["user", "roles", "ann", "--tenant", "acme", "--role", "reader"][..],
        &["user", "disable", "ann", "--tenant", "acme"],
        &["user", "enable", "ann", "--tenant", "acme"],
        &["user", "remove", "ann", "--tenant", "acme"],
    ] {
        run(&pool, line).await.unwrap();
    }
    let found = waiting(&pool).await;
    let expected = [
        ("default", "tenant_added", "tenant/default"),
        ("default", "tenant_added", "tenant/acme"),
        ("default", "user_added", "user/root"),
        ("acme", "user_added", "user/ann"),
        ("acme", "user_password_set", "user/ann"),
        ("acme", "token_created", ""),
        ("acme", "user_roles_set", "user/ann"),
        ("acme", "user_disabled", "user/ann"),
        ("acme", "user_enabled", "user/ann"),
        ("acme", "user_removed", "user/ann"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((tenant, event_type, by, target, _), (in_tenant, name, on)) in found.iter().zip(expected) {
        assert_eq!((tenant.as_str(), event_type.as_str()), (in_tenant, &*format!("eventlogger.{name}")));
        assert!(by.starts_with("cli:") && by.len() > 4, "{by}");
        assert!(target.starts_with(on), "{target}");
    }
    let text = as_text(&pool).await;
    assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
}

async fn the_first_user_is_an_event_of_the_system(pool: PgPool) {
    ensure_first_user(&pool, crate::auth::CHEAP, "admin", Some("secret")).await.unwrap();
    ensure_first_user(&pool, crate::auth::CHEAP, "other", Some("secret")).await.unwrap();
    let found = waiting(&pool).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    let (tenant, event_type, by, target, _) = &found[0];
    let told = [tenant, event_type, by, target].map(String::as_str);
    assert_eq!(told, ["default", "eventlogger.user_added", "system", "user/admin"]);
}

async fn rules_of_the_service_hold_for_commands_too(pool: PgPool) {
    run(&pool, &["tenant", "add", "default"]).await.unwrap();
    run(&pool, &["tenant", "add", "acme"]).await.unwrap();
    run(&pool, &["user", "add", "root", "--role", "superadmin"]).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "short\n").unwrap();
    let path = file.path().to_str().unwrap();
    let cases: [(&[&str], &str); 4] = [
        (&["user", "add", "eve", "--tenant", "acme", "--role", "superadmin"], "tenant \"default\""),
        (&["user", "disable", "root"], "last enabled superadmin"),
        (&["user", "roles", "root", "--role", "writer"], "last enabled superadmin"),
        (&["user", "password", "root", "--password-file", path], "at least 8"),
    ];
    for (line, expected) in cases {
        let error = run(&pool, line).await.unwrap_err();
        assert!(error.contains(expected), "{line:?}: {error}");
    }
}
