//! The effective configuration as text.

use super::Config;

impl Config {
    /// TOML that the service would accept again, except for masked secrets; a comment says where each value
    /// that is not the default came from.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut section = String::new();
        let mut text = String::new();
        for line in toml::to_string(self)?.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = format!("{name}.");
            }
            let key = line.split(" = ").next().unwrap_or_default();
            text.push_str(line);
            if let Some(origin) = self.origin(&format!("{section}{key}")) {
                text.push_str(&format!("  # {origin}").replace(char::is_control, " "));
            }
            text.push('\n');
        }
        Ok(text)
    }
}
