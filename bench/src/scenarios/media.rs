//! Files uploaded and downloaded, and pictures made small.

use std::{cell::RefCell, io::Cursor, net::SocketAddr};

use anyhow::{Result, ensure};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use crate::{
    load::{Limit, closed_loop},
    measure::Memory,
    report::Row,
    server::{Kind, nginx::Nginx},
    transfer::{File, download, upload},
    world::World,
};

const SMALL_BYTES: u64 = 64 << 10;
const BIG_BYTES: u64 = 16 << 20;
const MEDIUM_BYTES: u64 = 1 << 20;
const UPLOADERS: usize = 8;
const BIG_UPLOADERS: usize = 2;
/// What is uploaded and downloaded: each size with how many do so at once.
const FILES: [(&str, u64, usize); 2] =
    [("64 KiB", SMALL_BYTES, UPLOADERS), ("16 MiB", BIG_BYTES, BIG_UPLOADERS)];
/// What the specification wants of every picture.
const THUMBNAILS: [&str; 5] = [
    "width=32&height=32&method=crop",
    "width=96&height=96&method=crop",
    "width=320&height=240&method=scale",
    "width=640&height=480&method=scale",
    "width=800&height=600&method=scale",
];

pub(super) async fn run(world: &mut World) -> Result<()> {
    files(world).await?;
    // Others are asked for their files once.
    if world.server.kind == Kind::Kith {
        files_of_nginx(world).await?;
    }
    huge_file(world).await?;
    many_at_once(world).await?;
    thumbnails(world).await
}

/// What it takes to send and fetch files.
#[derive(Debug, Clone)]
struct Server {
    addr: SocketAddr,
    token: String,
}

async fn server(world: &mut World) -> Result<Server> {
    let session = world.new_sessions(1).await?.remove(0);
    Ok(Server { addr: world.server.addr, token: session.user.token.clone() })
}

impl Server {
    /// Uploads bytes that no other upload has.
    async fn upload(&self, number: usize, length: u64) -> Result<String> {
        let start = format!("file number {number}\n");
        let file = File { content_type: "application/octet-stream", start: start.as_bytes(), length };
        upload(self.addr, &self.token, file).await
    }

    async fn download(&self, media: &str, length: u64) -> Result<()> {
        let read =
            download(self.addr, &self.token, &format!("/_matrix/client/v1/media/download/{media}")).await?;
        ensure!(read == length, "{read} bytes of {length}");
        Ok(())
    }
}

async fn files(world: &mut World) -> Result<()> {
    let server = server(world).await?;
    let count = world.sizes.files;
    for (name, length, at_once) in FILES {
        let count = if length == BIG_BYTES { count.div_ceil(10) } else { count };
        let kept = RefCell::new(Vec::new());
        let limit = world.limit(count);
        let row = world
            .measure("media", format!("{name}, uploaded"), async {
                Ok(closed_loop(&mut vec![(); at_once], limit, async |(), _| {
                    let media = server.upload(world.unique(), length).await?;
                    kept.borrow_mut().push(media);
                    Ok(())
                })
                .await)
            })
            .await?;
        world.push(with_rate(row, length));
        let kept = kept.into_inner();
        ensure!(!kept.is_empty(), "nothing was uploaded");
        let limit = world.limit(count * 4);
        let row = world
            .measure("media", format!("{name}, downloaded"), async {
                Ok(closed_loop(&mut vec![(); at_once], limit, async |(), number| {
                    server.download(&kept[number % kept.len()], length).await
                })
                .await)
            })
            .await?;
        world.push(with_rate(row, length));
    }
    Ok(())
}

/// The same files from nginx: what the machine can do.
async fn files_of_nginx(world: &mut World) -> Result<()> {
    let Some(nginx) = Nginx::start(&world.setup, &FILES.map(|(_, length, _)| length)).await? else {
        crate::note("nginx is not installed, so there is nothing to compare downloads with");
        return Ok(());
    };
    for (name, length, at_once) in FILES {
        let limit = world.limit(if length == BIG_BYTES { world.sizes.files } else { world.sizes.files * 4 });
        let row = world
            .measure_of(nginx.pids(), "media", format!("{name}, downloaded from nginx"), async {
                Ok(closed_loop(&mut vec![(); at_once], limit, async |(), _| {
                    let read = download(nginx.addr, "", &format!("/{length}")).await?;
                    ensure!(read == length, "{read} bytes of {length}");
                    Ok(())
                })
                .await)
            })
            .await?;
        world.push(with_rate(row, length));
    }
    Ok(())
}

/// One file of a size that no server should hold in memory: the peak says whether it does.
async fn huge_file(world: &mut World) -> Result<()> {
    let server = server(world).await?;
    let length = world.sizes.huge_file_mb << 20;
    let name = format!("{} MiB", world.sizes.huge_file_mb);
    let limit = Limit { count: 1, ..world.limit(1) };
    let kept = RefCell::new(String::new());
    let before = Memory::read(world.server.pids()?).server;
    let row = world
        .measure("media", format!("one of {name}, uploaded"), async {
            Ok(closed_loop(&mut [()], limit, async |(), _| {
                *kept.borrow_mut() = server.upload(world.unique(), length).await?;
                Ok(())
            })
            .await)
        })
        .await?;
    world.push(with_memory(with_rate(row, length), before));
    let kept = kept.into_inner();
    let before = Memory::read(world.server.pids()?).server;
    let row = world
        .measure("media", format!("one of {name}, downloaded"), async {
            Ok(closed_loop(&mut [()], limit, async |(), _| server.download(&kept, length).await).await)
        })
        .await?;
    world.push(with_memory(with_rate(row, length), before));
    Ok(())
}

async fn many_at_once(world: &mut World) -> Result<()> {
    let server = server(world).await?;
    let at_once = world.sizes.downloads_at_once;
    let media = server.upload(world.unique(), MEDIUM_BYTES).await?;
    let limit = world.limit(at_once * 4);
    let row = world
        .measure("media", format!("1 MiB, {at_once} downloads at once"), async {
            Ok(closed_loop(&mut vec![(); at_once], limit, async |(), _| {
                server.download(&media, MEDIUM_BYTES).await
            })
            .await)
        })
        .await?;
    world.push(with_rate(row, MEDIUM_BYTES));
    Ok(())
}

/// A picture is uploaded and each of the usual sizes fetched once: servers differ in when they make them.
async fn thumbnails(world: &mut World) -> Result<()> {
    let server = server(world).await?;
    let pictures = [
        ("12 megapixels, JPEG", "image/jpeg", written(&photo(4000, 3000), ImageFormat::Jpeg)?),
        ("2 megapixels, JPEG", "image/jpeg", written(&photo(1600, 1200), ImageFormat::Jpeg)?),
        ("2 megapixels, PNG", "image/png", written(&photo(1600, 1200), ImageFormat::Png)?),
    ];
    for (name, content_type, picture) in pictures {
        let limit = world.limit(world.sizes.pictures);
        let mut row = world
            .measure("media", format!("{name}: uploaded, five thumbnails"), async {
                Ok(closed_loop(&mut [(), ()], limit, async |(), _| {
                    // What stands behind a picture makes it another file and the same picture.
                    let start =
                        [picture.as_slice(), format!("number {}", world.unique()).as_bytes()].concat();
                    let file = File { content_type, start: &start, length: start.len() as u64 };
                    let media = upload(server.addr, &server.token, file).await?;
                    for size in THUMBNAILS {
                        let path = format!("/_matrix/client/v1/media/thumbnail/{media}?{size}");
                        download(server.addr, &server.token, &path).await?;
                    }
                    Ok(())
                })
                .await)
            })
            .await?;
        let per_second = row.per_second.unwrap_or_default() * THUMBNAILS.len() as f64;
        row.add_note(&format!("{per_second:.1} thumbnails a second, of {} KB", picture.len() >> 10));
        world.push(row);
    }
    Ok(())
}

fn with_rate(mut row: Row, length: u64) -> Row {
    let mb = row.per_second.unwrap_or_default() * length as f64 / 1e6;
    row.add_note(&format!("{mb:.0} MB/s"));
    row
}

fn with_memory(mut row: Row, before_mb: f64) -> Row {
    row.add_note(&format!(
        "{:.0} MB of memory at most beside what there was",
        row.server_peak_mb - before_mb
    ));
    row
}

/// Soft shapes with a little noise, which compress about as photographs do.
fn photo(width: u32, height: u32) -> DynamicImage {
    let mut noise = 1_u32;
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = f64::from(noise >> 28);
        let wave =
            |a: f64, b: f64| (f64::from(x) / a).sin() * (f64::from(y) / b).cos() * 100.0 + 120.0 + grain;
        Rgb([wave(190.0, 130.0) as u8, wave(90.0, 310.0) as u8, wave(410.0, 70.0) as u8])
    }))
}

fn written(picture: &DynamicImage, format: ImageFormat) -> Result<Vec<u8>> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format)?;
    Ok(file.into_inner())
}
