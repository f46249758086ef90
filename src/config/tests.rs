use std::fs;

use super::*;

fn load(file: Option<&str>, environment: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.toml");
    fs::write(&path, file.unwrap_or_default()).unwrap();
    let home = [("HOME", "/home/someone")];
    let environment = home.iter().chain(environment).map(|(name, value)| (name.into(), value.into()));
    let loaded = Config::load_from(file.map(|_| path.as_path()), environment);
    loaded.map_err(|error| error.to_string().replace(path.to_str().unwrap(), "audit.toml"))
}

fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
    load(Some(file), environment).unwrap_err()
}

#[test]
fn the_defaults_load_and_say_that_they_are_defaults() {
    let config = load(None, &[]).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:5000".parse().unwrap(), "[::1]:5000".parse().unwrap()]);
    assert!(config.database.url.is_empty());
    assert_eq!(config.origin("server.listen"), None);
    assert_eq!(config.origin("data_dir"), Some(&Origin::User));
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "[limits]\nbatch_events = 500\nurl_bytes = 4096\n";
    let config = load(Some(file), &[("EVENTLOGGER_LIMITS__BATCH_EVENTS", "1_000")]).unwrap();
    assert_eq!((config.limits.batch_events, config.limits.url_bytes), (1000, 4096));
    assert_eq!(config.limits.query_body_bytes, 65_536);
}

#[test]
fn a_list_in_the_environment_is_separated_by_commas() {
    let config = load(None, &[("EVENTLOGGER_SERVER__LISTEN", "127.0.0.1:0, [::1]:0")]).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]);
    let config = load(None, &[("EVENTLOGGER_SERVER__CORS_ORIGINS", "")]).unwrap();
    assert!(config.server.cors_origins.is_empty());
}

#[test]
fn an_unknown_key_is_refused_with_its_file_and_the_nearest_one() {
    let error = refusal("[server]\nlisen = [\"127.0.0.1:1\"]\n", &[]);
    assert_eq!(error, "file audit.toml: there is no key `server.lisen`; did you mean `server.listen`?");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_one() {
    let error = refusal("", &[("EVENTLOGGER_SERVER__LISEN", "127.0.0.1:1")]);
    assert_eq!(
        error,
        "environment variable EVENTLOGGER_SERVER__LISEN: there is no key `server.lisen`; \
         did you mean EVENTLOGGER_SERVER__LISTEN?"
    );
}

#[test]
fn a_wrong_type_says_the_key_what_was_found_and_what_is_expected() {
    let error = refusal("[limits]\nbatch_events = \"ten\"\n", &[]);
    assert_eq!(
        error,
        "file audit.toml: `limits.batch_events` is \"ten\"; expected an integer from 1 to 10000"
    );
    let error = refusal("", &[("EVENTLOGGER_DATABASE__UNSAFE_ALLOW_VOLATILE", "maybe")]);
    assert!(
        error.contains("`database.unsafe_allow_volatile` is \"maybe\"; expected true or false"),
        "{error}"
    );
    let error = refusal("server = 5\n", &[]);
    assert!(error.contains("`server` is a section"), "{error}");
}

#[test]
fn values_out_of_range_and_addresses_without_a_port_are_refused() {
    let error = refusal("[auth]\ncache_seconds = 61\n", &[]);
    assert!(error.contains("expected an integer from 0 to 60"), "{error}");
    let error = refusal("[server]\nlisten = [\"localhost\"]\n", &[]);
    assert!(error.contains("[\"localhost\"]; expected a list, each item an IP:port"), "{error}");
    let error = refusal("[log]\nfilter = \"inof\"\n", &[]);
    assert!(error.contains("`log.filter` is \"inof\""), "{error}");
}

#[test]
fn every_fault_is_reported_at_once() {
    let error =
        refusal("[log]\nformat = \"xml\"\ncolour = 1\n", &[("EVENTLOGGER_AUTH__CACHE_SECONDS", "-1")]);
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named() {
    let error = refusal("[database]\npassword = hunter2\n", &[]);
    assert!(error.starts_with("file audit.toml: this is not TOML, line 2: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let error = Config::load_from(Some(Path::new("/nowhere/audit.toml")), []).unwrap_err().to_string();
    assert!(error.contains("file /nowhere/audit.toml: the configuration file cannot be read"), "{error}");
}

#[test]
fn a_secret_comes_from_its_file_without_the_final_newline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    fs::write(&path, "s3cret ünd more\n").unwrap();
    let variable = ("EVENTLOGGER_ADMIN_PASSWORD_FILE", path.to_str().unwrap());
    assert_eq!(load(None, &[variable]).unwrap().admin_password.reveal(), "s3cret ünd more");
    let error = load(None, &[variable, ("EVENTLOGGER_ADMIN_PASSWORD", "x")]).unwrap_err();
    assert!(error.contains("keep one of the two"), "{error}");
    fs::write(&path, "").unwrap();
    assert!(load(None, &[variable]).unwrap_err().contains("no text in its first line"));
}

#[test]
fn only_secrets_can_come_from_files() {
    let error = refusal("", &[("EVENTLOGGER_LOG__FORMAT_FILE", "/etc/hostname")]);
    assert!(error.contains("there is no key `log.format_file`"), "{error}");
}

#[test]
fn secrets_are_masked_wherever_the_configuration_is_shown() {
    let config = load(
        None,
        &[
            ("EVENTLOGGER_ADMIN_PASSWORD", "hunter2"),
            ("EVENTLOGGER_DATABASE__URL", "postgres://u:hunter2@db/x"),
        ],
    )
    .unwrap();
    let shown = format!("{config:?}{}{}", config.to_toml().unwrap(), config.admin_password);
    assert!(shown.contains("********") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_printed_configuration_names_origins_and_loads_again() {
    let file = "[limits]\nbatch_events = 500\n";
    let printed = load(Some(file), &[("EVENTLOGGER_PARTITIONS__AHEAD", "3")]).unwrap().to_toml().unwrap();
    assert!(
        printed.contains("\nahead = 3  # environment variable EVENTLOGGER_PARTITIONS__AHEAD\n"),
        "{printed}"
    );
    assert!(printed.contains("\nbatch_events = 500  # file "), "{printed}");
    assert!(printed.contains("\nurl_bytes = 8192\n"), "{printed}");
    let again = load(Some(&printed), &[]).unwrap();
    assert_eq!((again.limits.batch_events, again.partitions.ahead), (500, 3));
}

#[test]
fn queues_that_cannot_hold_one_batch_are_refused() {
    let error = refusal("[ingest]\nqueue_events_per_tenant = 10\n", &[]);
    assert!(error.contains("cannot hold one batch; it needs at least 10000"), "{error}");
}

#[test]
fn a_folder_without_postgresql_is_refused_by_the_name_that_gave_it() {
    let error = refusal("", &[("PG_BIN", "/nowhere")]);
    assert_eq!(
        error,
        "environment variable PG_BIN: /nowhere has no `postgres`; \
         name the folder that holds PostgreSQL's server programs"
    );
}

#[test]
fn variables_of_the_command_line_and_of_deploy_are_not_keys() {
    assert!(load(None, &[("EVENTLOGGER_CONFIG", "/etc/x.toml"), ("SOMETHING_ELSE", "1")]).is_ok());
    assert!(load(None, &[("EVENTLOGGER_BINARY", "/x"), ("EVENTLOGGER_BUILD_PROFILE", "dev")]).is_ok());
}

#[test]
fn half_a_certificate_is_refused_with_the_other_half_to_set() {
    let error = refusal("[server]\ntls_certificate = \"/etc/tls/chain.pem\"\n", &[]);
    assert_eq!(
        error,
        "file audit.toml: `server.tls_certificate` needs `server.tls_key`, the file with its private key"
    );
    let error = refusal("", &[("EVENTLOGGER_SERVER__TLS_KEY", "/etc/tls/key.pem")]);
    assert!(error.contains("TLS_KEY: `server.tls_key` needs `server.tls_certificate`"), "{error}");
}

#[test]
fn https_without_a_certificate_is_refused_with_the_keys_to_set() {
    let error = refusal("[server]\nlisten = [\"https://[::]:5443\"]\n", &[]);
    assert!(error.contains("https://[::]:5443 in `server.listen` needs a certificate; set"), "{error}");
    let certificate = "tls_certificate = \"/a\"\ntls_key = \"/b\"\n";
    let file = format!("[server]\nlisten = [\"https://[::]:5443\", \"unix:/run/x.sock\"]\n{certificate}");
    let config = load(Some(&file), &[]).unwrap();
    assert_eq!(config.server.listen[1].to_string(), "unix:/run/x.sock");
}

#[test]
fn a_proxy_that_is_none_is_refused_with_examples() {
    let error = refusal("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"lb.example\"]\n", &[]);
    assert!(error.contains("each item an address such as 10.0.0.7, a network such as 10.0.0.0/8"), "{error}");
    let error = refusal("[limits]\nbodies_bytes = 1_048_576\n", &[]);
    assert!(error.contains("`limits.bodies_bytes` cannot hold one batch"), "{error}");
}
