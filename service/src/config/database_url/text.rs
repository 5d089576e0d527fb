//! Both forms of libpq's connection strings, as pairs of a keyword and a value.

use super::DatabaseUrlError;

/// A keyword and its value.
pub(super) struct Pair {
    pub(super) keyword: String,
    pub(super) value: Vec<u8>,
    /// The number of the parameter in what was written, from 1; 0 for the parts of a URL before its parameters.
    pub(super) position: usize,
}

/// Reads `postgres://user:password@host:port/database?keyword=value`, or `keyword=value keyword='other value'`.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair>, DatabaseUrlError> {
    let scheme = ["postgres://", "postgresql://"].iter().find_map(|one| text.strip_prefix(one));
    match scheme {
        Some(rest) => url(rest),
        None => keywords_and_values(text),
    }
}

fn url(rest: &str) -> Result<Vec<Pair>, DatabaseUrlError> {
    let mut pairs = Vec::new();
    let mut part = |keyword: &str, value: Vec<u8>| {
        pairs.push(Pair { keyword: keyword.to_owned(), value, position: 0 });
    };
    let (credentials, rest) = split_credentials(rest);
    if let Some(credentials) = credentials {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        part("user", decoded(user));
        part("password", decoded(password));
    }
    let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    if !authority.is_empty() {
        let places: Vec<_> = authority.split(',').map(host_and_port).collect::<Result<_, _>>()?;
        let hosts: Vec<_> = places.iter().map(|(host, _)| decoded(host)).collect();
        part("host", hosts.join(&b','));
        if places.iter().any(|(_, port)| !port.is_empty()) {
            let ports: Vec<_> = places.iter().map(|(_, port)| decoded(port)).collect();
            part("port", ports.join(&b','));
        }
    }
    part("dbname", decoded(database));
    let parameters = parameters.split('&').filter(|parameter| !parameter.is_empty());
    for (index, parameter) in parameters.enumerate() {
        let (keyword, value) = parameter.split_once('=').ok_or(DatabaseUrlError::NotOne)?;
        let keyword = String::from_utf8(decoded(keyword)).map_err(|_| DatabaseUrlError::NotOne)?;
        pairs.push(Pair { keyword, value: decoded(value), position: index + 1 });
    }
    Ok(pairs)
}

/// User and password end at the first `@`, unless that is one of the parameters.
fn split_credentials(rest: &str) -> (Option<&str>, &str) {
    match rest.split_once('@') {
        Some((credentials, rest)) if !(credentials.contains('/') && credentials.contains('?')) => {
            (Some(credentials), rest)
        }
        _ => (None, rest),
    }
}

fn host_and_port(place: &str) -> Result<(&str, &str), DatabaseUrlError> {
    if let Some(bracketed) = place.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or(DatabaseUrlError::NotOne)?;
        return match port.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if port.is_empty() => Ok((address, "")),
            None => Err(DatabaseUrlError::NotOne),
        };
    }
    Ok(place.split_once(':').unwrap_or((place, "")))
}

/// Undoes percent-encoding. A `%` that begins none is itself.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let escaped = digit(at + 1).zip(digit(at + 2)).filter(|_| byte == b'%');
        match escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(escaped) => {
                decoded.push(escaped);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn keywords_and_values(text: &str) -> Result<Vec<Pair>, DatabaseUrlError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (keyword, after) = rest.split_once('=').ok_or(DatabaseUrlError::NotOne)?;
        let keyword = keyword.trim_end();
        if keyword.is_empty() || keyword.contains(char::is_whitespace) {
            return Err(DatabaseUrlError::NotOne);
        }
        let (value, after) = value(after.trim_start())?;
        let position = pairs.len() + 1;
        pairs.push(Pair { keyword: keyword.to_owned(), value: value.into_bytes(), position });
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// A value, in quotes or up to the next space, and what comes after it. A backslash escapes.
fn value(text: &str) -> Result<(String, &str), DatabaseUrlError> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            ' ' | '\t' | '\n' | '\r' if !quoted => return Ok((value, &text[at..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    if quoted { Err(DatabaseUrlError::NotOne) } else { Ok((value, "")) }
}
