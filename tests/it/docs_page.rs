//! `/docs` in a real browser, offline and under its strict policy.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;

use crate::harness::{Server, tests};

tests![the_page_shows_the_operations_under_its_strict_policy];

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

/// What the browser made of the page once its scripts had run.
async fn rendered(browser: &PathBuf, url: &str) -> (String, String) {
    let profile = tempfile::tempdir().expect("a folder");
    let browser = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // Violations of the policy are written to the console, which this brings to stderr.
        .args(["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"])
        // Whatever is not this service does not exist.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), browser).await;
    let output = output.expect("the browser ends").expect("the browser starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}

#[expect(clippy::print_stderr, reason = "a test that was skipped should say so")]
async fn the_page_shows_the_operations_under_its_strict_policy(server: Arc<Server>) {
    let Some(browser) = browser() else {
        eprintln!("skipped: no browser found (looked for {})", BROWSERS.join(", "));
        return;
    };
    for prefix in ["", "/api/v1"] {
        let url = format!("http://{}{prefix}/docs", server.client.address());
        let (page, log) = rendered(&browser, &url).await;
        for shown in
            ["record_event", "/events/batch", "Search events by URL", "Log in with Basic", "Authorize"]
        {
            assert!(page.contains(shown), "{url} does not show {shown:?}:\n{log}\n{page:.3000}");
        }
        assert!(!page.contains("Failed to load"), "{url}: {page:.3000}");
        let violations: Vec<&str> =
            log.lines().filter(|line| line.contains("Content Security Policy")).collect();
        assert!(violations.is_empty(), "{url}: {violations:#?}");
    }
}
