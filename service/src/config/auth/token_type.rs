use serde::{Deserialize, Serialize};

/// What kind of token one is: a media type, in the header `typ` (RFC 7515, section 4.1.9).
///
/// Upper and lower case are the same, and so is a value with and without the prefix `application/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenType(String);

impl TokenType {
    /// Whether a header's `typ` is this type.
    #[must_use]
    pub fn matches(&self, typ: &str) -> bool {
        self.0 == comparable(typ)
    }
}

/// In lower case, and without the prefix that RFC 7515 lets issuers leave out.
fn comparable(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/") {
        Some(short) if !short.contains('/') => short.to_owned(),
        _ => typ,
    }
}

impl TryFrom<String> for TokenType {
    type Error = &'static str;

    fn try_from(typ: String) -> Result<Self, Self::Error> {
        let typ = comparable(&typ);
        if typ.is_empty() || !typ.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be a media type such as at+jwt; leave it out to accept any");
        }
        Ok(Self(typ))
    }
}

impl From<TokenType> for String {
    fn from(typ: TokenType) -> Self {
        typ.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(required: &str, typ: &str) -> bool {
        TokenType::try_from(required.to_owned()).unwrap().matches(typ)
    }

    #[test]
    fn case_and_prefix_do_not_matter() {
        for required in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            for typ in ["at+jwt", "At+JWT", "application/at+jwt", "APPLICATION/AT+JWT"] {
                assert!(matches(required, typ), "{required} {typ}");
            }
            for typ in ["", "jwt", "at+jwt ", "text/at+jwt", "application/application/at+jwt"] {
                assert!(!matches(required, typ), "{required} {typ}");
            }
        }
        assert!(!matches("a/b", "application/a/b"));
    }

    #[test]
    fn nothing_is_no_type() {
        for wrong in ["", "application/", "at jwt", "ät"] {
            assert!(TokenType::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
