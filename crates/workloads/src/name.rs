//! The pod's name.

/// The given name, else the one in the environment, else the default.
pub(crate) fn name(told: Option<String>, otherwise: &str) -> String {
    let environment = ["POD_NAME", "HOSTNAME"].into_iter().filter_map(|variable| std::env::var(variable).ok());
    told.into_iter().chain(environment).find(|name| !name.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}
