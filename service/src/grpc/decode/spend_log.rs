//! What is asked of the spend log, page by page.

use super::{Fields, fields::FIRST_TIME};
use crate::{
    store::{LogFilter, LogPosition},
    types::{DeviceId, GroupId, Holder, KeyPackageRef, ReservationId, UserId},
};
use jiff::Timestamp;
use keypool_proto::v1;

const MAX_PAGE: u32 = 1000;
const DEFAULT_PAGE: u32 = 100;

/// What a page of the spend log should hold.
pub(in crate::grpc) struct LogQuery {
    pub(in crate::grpc) filter: LogFilter,
    pub(in crate::grpc) after: Option<LogPosition>,
    pub(in crate::grpc) limit: u32,
}

pub(in crate::grpc) fn spend_log(
    fields: &mut Fields,
    request: v1::ListSpendLogRequest,
) -> Option<LogQuery> {
    let raw = request.filter.unwrap_or_default();
    let user = fields.optional("filter.user_id", &raw.user_id, UserId::new);
    let device = fields.optional("filter.device_id", &raw.device_id, DeviceId::new);
    if raw.user_id.is_empty() && !raw.device_id.is_empty() {
        fields.violation("filter.device_id", "needs filter.user_id");
    }
    let reservation =
        fields.optional("filter.reservation_id", &raw.reservation_id, ReservationId::new);
    let group = if raw.group_id.is_empty() {
        Some(None)
    } else {
        fields.check("filter.group_id", GroupId::new(&raw.group_id)).map(Some)
    };
    let holder = fields.optional("filter.holder", &raw.holder, Holder::new);
    let start = fields.time("filter.start_time", raw.start_time);
    let end = fields.time("filter.end_time", raw.end_time);
    let after = fields.optional("page_token", &request.page_token, page_position);
    if request.page_size > MAX_PAGE {
        fields.violation("page_size", format!("must be at most {MAX_PAGE}"));
    }
    let filter = LogFilter {
        user: user?,
        device: device?,
        reservation: reservation?,
        group: group?,
        holder: holder?,
        start: start?,
        end: end?,
    };
    let limit = if request.page_size == 0 { DEFAULT_PAGE } else { request.page_size };
    Some(LogQuery { filter, after: after?, limit })
}

/// Writes where a page ended as a token: time in microseconds, ref, the reservation's length, joined by dots, and reservation and
/// holder without anything between them.
pub(in crate::grpc) fn page_token(position: &LogPosition) -> String {
    let micros = position.logged_at.as_microsecond();
    let LogPosition { reference, reservation, holder, .. } = position;
    format!("{micros}.{reference}.{}.{reservation}{holder}", reservation.as_str().len())
}

fn page_position(token: &str) -> Result<LogPosition, &'static str> {
    let read = || {
        let mut parts = token.splitn(4, '.');
        let micros = parts.next()?.parse().ok()?;
        let (micros, reference): (i64, &str) = (micros, parts.next()?);
        let length = parts.next()?.parse().ok()?;
        let (reservation, holder) = parts.next()?.split_at_checked(length)?;
        Some(LogPosition {
            logged_at: Timestamp::from_microsecond(micros).ok().filter(|at| *at >= FIRST_TIME)?,
            reference: KeyPackageRef::new(unhex(reference)?).ok()?,
            reservation: ReservationId::new(reservation).ok()?,
            holder: Holder::new(holder).ok()?,
        })
    };
    read().ok_or("must be a next_page_token of ListSpendLog")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            &[high, low] => Some(nibble(high)? << 4 | nibble(low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_come_back_as_they_went() {
        let position = LogPosition {
            logged_at: Timestamp::from_microsecond(1_234_567).unwrap(),
            reference: KeyPackageRef::new([0xab; 32]).unwrap(),
            reservation: ReservationId::new("with.dots").unwrap(),
            holder: Holder::new("9.häkel").unwrap(),
        };
        assert_eq!(page_position(&page_token(&position)), Ok(position));
        for broken in ["x", "1.2", "1.zz.r", "1.abc.r", "99999999999999999999.00.r", "1.abab.9.r"] {
            assert!(page_position(broken).is_err(), "{broken}");
        }
    }
}
