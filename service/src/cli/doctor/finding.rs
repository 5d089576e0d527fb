use serde::Serialize;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It serves, but somebody should look.
    Warning,
    /// It keeps the service from serving, or from keeping its promises.
    Failed,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// What was found about something.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) state: State,
    pub(super) about: &'static str,
    pub(super) says: String,
    /// What to do.
    pub(super) advice: Option<String>,
}

/// All that was found, in order.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, about: &'static str, says: impl Into<String>) {
        self.0.push(Finding { state: State::Ok, about, says: says.into(), advice: None });
    }

    pub(super) fn warning(
        &mut self,
        about: &'static str,
        says: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (says, advice) = (says.into(), Some(advice.into()));
        self.0.push(Finding { state: State::Warning, about, says, advice });
    }

    pub(super) fn failed(
        &mut self,
        about: &'static str,
        says: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (says, advice) = (says.into(), Some(advice.into()));
        self.0.push(Finding { state: State::Failed, about, says, advice });
    }
}
