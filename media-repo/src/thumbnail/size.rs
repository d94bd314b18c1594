//! Which size a thumbnail has.
//!
//! <https://spec.matrix.org/latest/client-server-api/#thumbnails>

use std::str::FromStr;

/// How a picture is brought to a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Its middle, in the aspect ratio that was asked for.
    Crop,
    /// All of it, in its own aspect ratio.
    Scale,
}

impl Method {
    /// As the specification calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crop => "crop",
            Self::Scale => "scale",
        }
    }
}

/// There is no such method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the method is neither crop nor scale")]
pub struct UnknownMethod;

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        match text {
            "crop" => Ok(Self::Crop),
            "scale" => Ok(Self::Scale),
            _ => Err(UnknownMethod),
        }
    }
}

/// A thumbnail that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spec {
    /// The least width.
    pub width: u32,
    /// The least height.
    pub height: u32,
    /// How.
    pub method: Method,
    /// Whether it should move if the picture does.
    pub animated: bool,
}

/// The sizes that servers should have.
pub const COMMON: [Spec; 5] = [
    still(32, 32, Method::Crop),
    still(96, 96, Method::Crop),
    still(320, 240, Method::Scale),
    still(640, 480, Method::Scale),
    still(800, 600, Method::Scale),
];

const fn still(width: u32, height: u32, method: Method) -> Spec {
    Spec { width, height, method, animated: false }
}

/// The lengths of sides that thumbnails are made for.
const STEPS: [u32; 16] = [16, 32, 48, 64, 96, 128, 160, 240, 320, 480, 600, 640, 800, 960, 1280, 1920];

/// The most pixels that are called a thumbnail. Who asks for more gets the picture itself.
const MAX_THUMBNAIL_PIXELS: u64 = 4_000_000;

impl Spec {
    /// The same, or the next bigger one of those that are made and kept. Clients ask for whatever fits the screen that
    /// they are on; without this each of them would have a thumbnail of its own.
    #[must_use]
    pub fn rounded_up(self) -> Self {
        let (width, height) = match self.method {
            Method::Scale => (step(self.width), step(self.height)),
            // The aspect ratio was asked for as well: the longer side is rounded, the other follows.
            Method::Crop if self.width >= self.height => {
                let width = step(self.width);
                (width, follow(self.height, width, self.width))
            }
            Method::Crop => {
                let height = step(self.height);
                (follow(self.width, height, self.height), height)
            }
        };
        Self { width, height, ..self }
    }
}

fn step(length: u32) -> u32 {
    STEPS.into_iter().find(|step| *step >= length).unwrap_or(length)
}

/// `length * to / from`, rounded up.
fn follow(length: u32, to: u32, from: u32) -> u32 {
    let followed = (u64::from(length) * u64::from(to)).div_ceil(u64::from(from.max(1)));
    u32::try_from(followed).unwrap_or(u32::MAX)
}

/// Width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Size {
    pub(super) fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The same, lying on its side.
    pub(super) fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

/// What is done with a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing: it is not bigger than what was asked for.
    Keep,
    /// The middle of it, `of_width` by `of_height` wide, is brought to this size.
    Shrink { to: Size, of_width: f64, of_height: f64 },
}

/// What is done with a picture of this size to answer that request.
///
/// Both sides become at least as long as asked for, as far as the picture allows: "servers MUST NOT return a smaller
/// thumbnail than requested".
pub(super) fn plan(spec: Spec, size: Size) -> Plan {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let factor = (f64::from(spec.width) / width).max(f64::from(spec.height) / height).min(1.0);
    let to = match spec.method {
        Method::Scale if factor >= 1.0 => return Plan::Keep,
        Method::Scale => Size {
            width: scaled(width, factor).max(spec.width.min(size.width)),
            height: scaled(height, factor).max(spec.height.min(size.height)),
        },
        Method::Crop => Size {
            width: spec.width.clamp(1, scaled(width, factor)),
            height: spec.height.clamp(1, scaled(height, factor)),
        },
    };
    if to == size || to.pixels() > MAX_THUMBNAIL_PIXELS {
        return Plan::Keep;
    }
    match spec.method {
        Method::Scale => Plan::Shrink { to, of_width: width, of_height: height },
        Method::Crop => Plan::Shrink {
            to,
            of_width: (f64::from(to.width) / factor).min(width),
            of_height: (f64::from(to.height) / factor).min(height),
        },
    }
}

fn scaled(length: f64, factor: f64) -> u32 {
    ((length * factor).round() as u32).max(1)
}

impl Plan {
    /// By how much it makes smaller.
    pub(super) fn factor(self) -> f64 {
        match self {
            Self::Keep => 1.0,
            Self::Shrink { to, of_width, of_height } => {
                (f64::from(to.width) / of_width).max(f64::from(to.height) / of_height)
            }
        }
    }

    /// The same for a picture that lies on its side.
    pub(super) fn turned(self) -> Self {
        match self {
            Self::Keep => Self::Keep,
            Self::Shrink { to, of_width, of_height } => {
                Self::Shrink { to: to.turned(), of_width: of_height, of_height: of_width }
            }
        }
    }
}
