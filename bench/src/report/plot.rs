//! Throughput and latency against calls in flight, as an SVG file.

use crate::error::Error;
use plotters::{coord::Shift, prelude::*};
use std::{fs, ops::Range, path::Path};

/// What was found at a number of calls in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Calls in flight.
    pub(crate) in_flight: u32,
    /// Calls a second.
    pub(crate) per_second: f64,
    /// Half of the calls took less, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100 calls took less, in milliseconds.
    pub(crate) p99_ms: f64,
}

/// What was found of one subject.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// The subject.
    pub(crate) name: String,
    /// By calls in flight.
    pub(crate) points: Vec<Point>,
}

/// Colours that are told apart without red and green, too.
const COLOURS: [RGBColor; 4] =
    [RGBColor(120, 120, 120), RGBColor(230, 159, 0), RGBColor(86, 180, 233), RGBColor(0, 90, 160)];

/// The size of the whole.
const SIZE: (u32, u32) = (900, 1100);

/// Sizes of text.
const TEXT: u32 = 15;
/// See [`TEXT`].
const TITLE: u32 = 22;

/// What a chart shows of a point.
struct Quantity {
    /// Its name and unit.
    caption: &'static str,
    /// Where it is found.
    of: fn(&Point) -> f64,
}

/// What is drawn, from top to bottom.
const QUANTITIES: [Quantity; 3] = [
    Quantity { caption: "reserves a second", of: |point| point.per_second },
    Quantity { caption: "p50, ms", of: |point| point.p50_ms },
    Quantity { caption: "p99, ms", of: |point| point.p99_ms },
];

/// Draws curves to a file.
pub(crate) fn plot(curves: &[Curve], file: &Path) -> Result<(), Error> {
    let svg = draw(curves).map_err(|error| Error::Plot(error.to_string()))?;
    fs::write(file, svg).map_err(Error::io(format!("write {}", file.display())))
}

/// Draws curves.
fn draw(curves: &[Curve]) -> Result<String, Box<dyn std::error::Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        for (part, quantity) in area.split_evenly((QUANTITIES.len(), 1)).iter().zip(&QUANTITIES) {
            chart(part, curves, quantity)?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Draws one quantity, both axes logarithmic.
fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    curves: &[Curve],
    quantity: &Quantity,
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let across = range(points().map(|point| f64::from(point.in_flight)));
    let up = range(points().map(quantity.of));
    let mut chart = ChartBuilder::on(area)
        .caption(quantity.caption, ("sans-serif", TITLE))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(70)
        .build_cartesian_2d(across.log_scale(), up.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("calls in flight")
        .x_label_formatter(&f64::to_string)
        .y_label_formatter(&f64::to_string)
        .label_style(("sans-serif", TEXT))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let line =
            curve.points.iter().map(|point| (f64::from(point.in_flight), (quantity.of)(point)));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(3)))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", TEXT))
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

/// From below the least number to above the greatest.
fn range(numbers: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, greatest) = numbers
        .filter(|number| *number > 0.0 && number.is_finite())
        .fold((f64::INFINITY, 0.0_f64), |(least, greatest), number| {
            (least.min(number), greatest.max(number))
        });
    if greatest == 0.0 { 1.0..10.0 } else { least / 1.2..greatest * 1.2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str) -> Curve {
        let point = |in_flight: u32| Point {
            in_flight,
            per_second: 1000.0 * f64::from(in_flight),
            p50_ms: 1.0,
            p99_ms: 2.0,
        };
        Curve { name: name.to_owned(), points: [1, 16, 256].map(point).into() }
    }

    /// Whether every element that is opened is closed, in the right order.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let Some((tag, _)) = tag.split_once('>') else { return false };
            let name = tag.split_whitespace().next().unwrap_or_default();
            if let Some(closed) = name.strip_prefix('/') {
                if open.pop() != Some(closed) {
                    return false;
                }
            } else if !tag.ends_with('/') && !tag.starts_with('?') && !tag.starts_with('!') {
                open.push(name);
            }
        }
        open.is_empty()
    }

    #[test]
    fn the_drawing_is_well_formed_and_names_every_curve() {
        let svg = draw(&[curve("echo"), curve("keypool")]).unwrap();
        assert!(svg.starts_with("<svg") && is_well_formed(&svg), "{svg}");
        for text in ["echo", "keypool", "reserves a second", "p99, ms"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.matches("<polyline").count() >= 6);
    }

    #[test]
    fn nothing_to_draw_is_no_fault() {
        assert!(is_well_formed(&draw(&[]).unwrap()));
        let empty = Curve { name: "empty".to_owned(), points: Vec::new() };
        assert!(draw(&[empty]).is_ok());
    }
}
