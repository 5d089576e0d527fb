/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag can't be read, is of the wrong type, or is unknown.
    #[error("{0}")]
    Unreadable(Box<figment::Error>),
    /// The database URL isn't one.
    #[error("database_url: not a PostgreSQL URL such as postgres://user:password@host/database")]
    DatabaseUrl,
    /// Values contradict each other or their limits: what is wrong, one sentence for each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}
