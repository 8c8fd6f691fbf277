"""Makes small odd media files (most 1 to 2 s of 320x240) with the ffmpeg command: everything that ever broke a tool.

Run as a script to look at them: ``python tests/odd_files.py FOLDER``.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

H264 = "-c:v libx264 -preset veryfast -crf 30 -pix_fmt yuv420p -g 30"
FAST_VP9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"
HEVC_10 = "-c:v libx265 -preset ultrafast -crf 34 -pix_fmt yuv420p10le -tag:v hvc1"
ODD_SIZE = "-vf scale=641:361,setsar=1"
INTERLACED = "-vf tinterlace=interleave_top,setfield=tff"
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
HDR10 = f"log-level=error:hdr10=1:master-display={MASTERING}:max-cll=1000,400:colorprim=bt2020"

# Name: arguments of ffmpeg. V: 60 pictures at 30 fps; A: stereo beeps; A2: a mono tone; S: subtitles; C: a cover.
CASES: dict[str, str] = {
    # sound
    "plain_aac.mp4": f"-i V -i A {H264} -c:a aac -b:a 64k",
    "no_audio.mp4": f"-i V {H264}",
    "audio_opus.webm": "-i V -i A -c:v libvpx -b:v 200k -deadline realtime -cpu-used 8 -c:a libopus -b:a 48k",
    "audio_opus.mp4": f"-i V -i A {H264} -c:a libopus -strict -2",
    "audio_pcm.mov": f"-i V -t 1 -i A2 {H264} -c:a pcm_s16le -t 1",
    "audio_51.mp4": f"-i V -i A {H264} -filter:a pan=5.1|FL=c0|FR=c1|FC=c0|LFE=c0|BL=c0|BR=c1 -c:a aac -b:a 128k",
    "audio_two_tracks.mp4": f"-i V -i A -i A2 -map 0:v -map 1:a -map 2:a {H264} -c:a aac -b:a 48k "
    "-metadata:s:a:0 language=eng -metadata:s:a:1 language=deu",
    "audio_mp3_44100.mkv": f"-i V -i A {H264} -c:a libmp3lame -ar 44100 -b:a 64k",
    "audio_late_500ms.mp4": f"-i V -itsoffset 0.5 -i A {H264} -c:a aac -b:a 48k",
    "audio_longer.mp4": f"-t 1 -i V -i A {H264} -c:a aac -b:a 48k",
    "audio_only.m4a": "-i A -c:a aac -b:a 48k",
    # several tracks
    "subtitles.mkv": f"-i V -i A -i S -map 0:v -map 1:a -map 2:s {H264} -c:a aac -b:a 48k -c:s srt",
    "subtitles_mov_text.mp4": f"-i V -i S -map 0:v -map 1:s {H264} -c:s mov_text",
    "two_video_tracks.mp4": f"-i V -map 0:v -map 0:v {H264} -filter:v:1 negate",
    "cover_attached.mp4": "-i V -i C -map 0:v -map 1:v -c:v:0 libx264 -crf:v:0 30 -pix_fmt:v:0 yuv420p -c:v:1 mjpeg "
    "-disposition:v:1 attached_pic",
    "cover_attachment.mkv": f"-i V {H264} -attach C -metadata:s:t mimetype=image/jpeg",
    "cover_first.mkv": "-i C -i V -map 0:v -map 1:v -c:v:0 copy -c:v:1 libx264 -crf:v:1 30 -pix_fmt:v:1 yuv420p "
    "-disposition:v:0 attached_pic",
    "chapters.mp4": f"-i V -i META -map_metadata 1 -map_chapters 1 {H264}",
    # private metadata
    "meta_gps.mp4": f"-i V -i A {H264} -c:a aac -b:a 48k -metadata location=+48.8584+002.2945/ "
    "-metadata creation_time=2024-05-06T07:08:09Z -metadata title='Alice at home' -metadata artist=Robert "
    "-metadata comment=private",
    "meta_gps_apple.mov": f"-i V {H264} -movflags use_metadata_tags "
    "-metadata com.apple.quicktime.location.ISO6709=+48.8584+002.2945+035/ -metadata com.apple.quicktime.make=Apple "
    "-metadata com.apple.quicktime.model='iPhone 15 Pro' "
    "-metadata com.apple.quicktime.creationdate=2024-05-06T09:08:09+0200",
    "timecode.mov": f"-i V {H264} -timecode 10:11:12:13",
    "handler_names.mp4": f"-i V -i A {H264} -c:a aac -b:a 48k -metadata:s:v handler_name='Alices camera' "
    "-metadata:s:a handler_name='Alices microphone' -metadata:s:v encoder=secret",
    # geometry
    "sar_4_3.mp4": f"-i V {H264} -vf setsar=4/3",
    "odd_641x361_444.mp4": f"-t 0.5 -i V {ODD_SIZE} -c:v libx264 -preset veryfast -crf 32 -pix_fmt yuv444p",
    "odd_641x361_420.webm": f"-t 0.5 -i V {ODD_SIZE} {FAST_VP9} -b:v 150k -pix_fmt yuv420p",
    "odd_641x361.avi": f"-t 0.5 -i V {ODD_SIZE} -c:v mjpeg -q:v 15",
    "tiny_16x16.mp4": f"-i V -vf scale=16:16 {H264}",
    "tiny_2x2.mkv": "-t 0.3 -i V -vf scale=2:2 -c:v ffv1",
    "wide_4096x64.mp4": f"-t 0.5 -i V -vf scale=4096:64,setsar=1 {H264}",
    "big_7680x4320.mp4": "-i V -frames:v 1 -vf scale=7680:4320,setsar=1 -c:v libx264 -preset ultrafast -crf 45 "
    "-pix_fmt yuv420p",
    "interlaced_h264.mp4": f"-i V {INTERLACED} {H264} -flags +ildct+ilme -x264opts tff=1",
    "interlaced_mpeg2.ts": f"-i V {INTERLACED} -r 30 -c:v mpeg2video -b:v 400k -flags +ildct+ilme -top 1",
    "coded_crop_1080.mp4": f"-t 0.1 -i V -vf scale=1920:1080,setsar=1 {H264}",
    # codecs, pixel formats, colour
    "hevc_10bit.mp4": f"-i V {HEVC_10} -x265-params log-level=error",
    "hdr10_pq.mp4": f"-i V {HEVC_10} -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc "
    f"-x265-params {HDR10}:transfer=smpte2084:colormatrix=bt2020nc",
    "hdr_hlg.mp4": f"-i V {HEVC_10} "
    "-x265-params log-level=error:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc",
    "full_range.mp4": "-i V -vf scale=out_range=full,format=yuv420p -c:v libx264 -preset veryfast -crf 30 "
    "-color_range pc -colorspace bt709 -color_primaries bt709 -color_trc bt709",
    "bt709_tagged.mp4": f"-i V -vf scale=out_color_matrix=bt709 {H264} -colorspace bt709 -color_primaries bt709 "
    "-color_trc bt709 -color_range tv",
    "h264_10bit_422.mp4": "-i V -c:v libx264 -preset veryfast -crf 32 -pix_fmt yuv422p10le",
    "vp9.webm": f"-i V -i A {FAST_VP9} -b:v 150k -c:a libvorbis",
    "vp9_alpha.webm": "-t 1 -i V -vf \"format=yuva420p,geq=lum='p(X,Y)':cb='p(X,Y)':cr='p(X,Y)':a='X*255/W'\" "
    f"{FAST_VP9} -b:v 100k -auto-alt-ref 0",
    "av1.mp4": "-t 1 -i V -c:v libsvtav1 -preset 12 -crf 50 -pix_fmt yuv420p",
    "av1.mkv": "-t 0.5 -i V -c:v libaom-av1 -cpu-used 8 -crf 50 -usage realtime",
    "mjpeg.avi": "-t 1 -i V -i A -c:v mjpeg -q:v 12 -c:a pcm_s16le -t 1",
    "prores.mov": "-t 0.2 -i V -c:v prores_ks -profile:v 0",
    "prores4444_alpha.mov": "-t 0.1 -i V -vf format=yuva444p10le -c:v prores_ks -profile:v 4",
    "gray.mkv": "-i V -vf format=gray -c:v libx264 -preset veryfast -crf 30",
    "animated.gif": "-t 1 -i V -vf fps=10,scale=160:120",
    "mpeg4_asp_xvid.avi": "-i V -c:v mpeg4 -q:v 10 -bf 2 -vtag xvid",
    "wmv2.wmv": "-i V -i A -c:v wmv2 -b:v 200k -c:a wmav2",
    "flv_h264.flv": f"-i V -i A {H264} -c:a aac",
    "rgb_h264.mkv": "-t 1 -i V -c:v libx264rgb -preset veryfast -crf 32",
    "3gp_h263.3gp": "-t 1 -i V -vf scale=176:144,setsar=1 -c:v h263 -b:v 100k",
    # time
    "vfr.mp4": f"-i V -vf \"select='not(between(n,10,24))*not(eq(mod(n,7),3))',setpts=PTS\" -fps_mode vfr {H264}",
    "vfr_screen_gap.mp4": f"-i V -vf \"select='lt(n,3)+gt(n,56)'\" -fps_mode vfr {H264}",
    "ntsc_29_97.mp4": f"-i V -r 30000/1001 {H264}",
    "fps_1.mp4": f"-i V -r 1 {H264}",
    "fps_120.mp4": f"-t 0.5 -i V -vf minterpolate=fps=120:mi_mode=dup {H264}",
    "one_frame.mp4": f"-i V -frames:v 1 {H264}",
    "start_10s.ts": f"-i V -i A {H264} -c:a aac -output_ts_offset 10 -muxdelay 0",
    "start_10s.mkv": f"-i V -i A {H264} -c:a aac -output_ts_offset 10",
    "start_negative.mkv": f"-i V -i A {H264} -c:a aac -output_ts_offset -0.5 -avoid_negative_ts disabled",
    "bframes_open_gop.mp4": "-i V -c:v libx264 -preset veryfast -crf 30 -pix_fmt yuv420p -g 20 -bf 3 "
    "-x264opts open_gop=1",
    "raw_no_timestamps.h264": f"-i V {H264}",
    "fragmented.mp4": f"-i V -i A {H264} -c:a aac -movflags frag_keyframe+empty_moov+default_base_moof",
    "no_duration_live.mkv": f"-i V -i A {H264} -c:a aac -live 1",
    # parts of others
    "_faststart.mp4": f"-i V -i A {H264} -c:a aac -movflags +faststart",
    "_whole.mkv": f"-i V -i A {H264} -c:a aac",
    "_whole.ts": f"-i V -i A {H264} -c:a aac",
    "_part_1.ts": f"-t 1 -i V {H264}",
    "_part_2.ts": f"-t 1 -i V -vf scale=480:272,setsar=1 {H264} -output_ts_offset 1",
    "_long_gop.mp4": "-i V -i A -c:v libx264 -preset veryfast -crf 30 -pix_fmt yuv420p -g 60 -bf 2 -c:a aac",
    "_picture.png": "-i V -frames:v 1",
}
REMUXED: dict[str, str] = {
    "rotate_90.mp4": "-i no_audio.mp4 -c copy -metadata:s:v rotate=90",
    "rotate_180.mp4": "-i no_audio.mp4 -c copy -metadata:s:v rotate=180",
    "rotate_270.mp4": "-i no_audio.mp4 -c copy -metadata:s:v rotate=270",
    "sar_rotated.mp4": "-i sar_4_3.mp4 -c copy -metadata:s:v rotate=90",
    "one_frame_with_audio.mp4": "-i one_frame.mp4 -i A -map 0:v -map 1:a -c:v copy -c:a aac",
    "edit_list_hidden_start.mp4": "-ss 0.9 -i _long_gop.mp4 -c copy",
}
BROKEN = (
    *("truncated_moov_first.mp4", "truncated_no_moov.mp4", "truncated.mkv", "random_bytes.mp4", "zero_byte.mp4"),
    *("corrupt_bytes.ts", "lost_packets.ts", "corrupt_mdat.mp4", "resolution_change.ts", "audio_only_named.mp4"),
    *("text.mp4", "script.mp4", "png_named.mp4", "photo.jpg", "directory.mp4", "fifo.mp4"),
    *("playlist_local_file.mp4", "playlist_local_file.m3u8", "concat_named.mp4"),
)
NAMES = (
    "with space.mp4",
    "-leading-dash.mp4",
    "percent_%03d.mp4",
    "colon:name.mp4",
    "rtsp:not-a-url.mp4",
    "üñí 视频 😀.mp4",
    "quote'\"name.mp4",
    "UPPER.MP4",
    "noextension",
    "wrong_ext.avi",
    "a#b?c&d.mp4",
    "[1].mp4",
    "star*.mp4",
    "$HOME.mp4",
    "trailing.mp4 ",
    "x" * 240 + ".mp4",
    "symlink.mp4",
    "dangling.mp4",
    "unreadable.mp4",
    os.fsdecode(b"latin1_\xe9.mp4"),
)
ODD_FILES = (
    *(name for name in (*CASES, *REMUXED) if not name.startswith("_")),
    *BROKEN,
    *(f"names/{n}" for n in NAMES),
)


def make_odd_files(folder: Path) -> dict[str, str]:
    """Make all of ``ODD_FILES`` under a folder; returns, by name, why ffmpeg could not make some."""
    inputs = folder / "_inputs"
    inputs.mkdir(parents=True)
    _make_inputs(inputs)
    failed: dict[str, str] = {}
    for batch in (CASES, REMUXED):
        with ThreadPoolExecutor(2) as pool:
            results = pool.map(lambda case: (case[0], _ffmpeg(folder, case[1], case[0])), batch.items())
            failed |= {name: cause for name, cause in results if cause}
    _make_broken(folder)
    _make_names(folder / "names", folder / "one_frame.mp4")
    for part in folder.glob("_*"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    return failed


def _ffmpeg(folder: Path, arguments: str, output: str) -> str:
    """Run ffmpeg in a folder; returns an empty text, or why it failed."""
    short = {"V": "_inputs/v.mkv", "A": "_inputs/a.wav", "A2": "_inputs/a2.wav", "S": "_inputs/s.srt"}
    short |= {"C": "_inputs/cover.jpg", "META": "_inputs/meta"}
    words = [short.get(word, word) for word in shlex.split(arguments)]
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-y", "-threads", "2", *words, output]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr[-300:]


def _make_inputs(inputs: Path) -> None:
    picture = "drawbox=x=mod(t*100\\,280):y=100:w=40:h=40:c=red:t=fill,format=yuv420p"
    beep = "0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.1)"
    wanted = {
        "v.mkv": f"-f lavfi -i testsrc2=size=320x240:rate=30 -t 2 -vf '{picture}' -c:v ffv1",
        "a.wav": f"-f lavfi -i \"aevalsrc='{beep}|{beep}':s=48000:d=2\" -c:a pcm_s16le",
        "a2.wav": "-f lavfi -i sine=440:sample_rate=48000:duration=2 -ac 1 -c:a pcm_s16le",
        "cover.jpg": "-f lavfi -i color=c=green:size=160x160 -frames:v 1",
    }
    for name, arguments in wanted.items():
        if cause := _ffmpeg(inputs, arguments, name):
            raise RuntimeError(f"ffmpeg cannot make {name}: {cause}")
    (inputs / "s.srt").write_text(
        "1\n00:00:00,200 --> 00:00:01,000\nHello\n\n2\n00:00:01,100 --> 00:00:01,900\nWorld\n"
    )
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    chapters = chapter.format(0, 1000, "Alice at home") + chapter.format(1000, 2000, "Robert")
    (inputs / "meta").write_text(f";FFMETADATA1\ntitle=holiday of Alice\n{chapters}")


def _make_broken(folder: Path) -> None:
    def put(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)

    def get(name: str) -> bytes:
        return (folder / name).read_bytes()

    chance = random.Random(1)
    plain = get("plain_aac.mp4")
    put("truncated_moov_first.mp4", get("_faststart.mp4")[: len(get("_faststart.mp4")) // 2])
    put("truncated_no_moov.mp4", plain[: len(plain) // 2])
    put("truncated.mkv", get("_whole.mkv")[: len(get("_whole.mkv")) * 6 // 10])
    put("corrupt_bytes.ts", _scrambled(get("_whole.ts"), chance, start=188 * 40, hits=60, length=20))
    put("corrupt_mdat.mp4", _scrambled(plain, chance, start=plain.find(b"mdat") + 2008, hits=40, length=1))
    stream = get("_whole.ts")
    packets = [stream[i : i + 188] for i in range(0, len(stream), 188)]
    put("lost_packets.ts", b"".join(p for i, p in enumerate(packets) if i < 60 or chance.random() > 0.05))
    put("resolution_change.ts", get("_part_1.ts") + get("_part_2.ts"))
    put("random_bytes.mp4", chance.randbytes(20000))
    put("zero_byte.mp4", b"")
    put("text.mp4", b"this is not a video\n" * 50)
    put("script.mp4", b"#!/bin/sh\necho hi\n")
    put("png_named.mp4", get("_picture.png"))
    put("photo.jpg", get("_inputs/cover.jpg"))
    put("audio_only_named.mp4", get("audio_only.m4a"))
    put("concat_named.mp4", b"ffconcat version 1.0\nfile 'plain_aac.mp4'\n")
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    put("playlist_local_file.mp4", playlist)
    put("playlist_local_file.m3u8", playlist)
    (folder / "directory.mp4").mkdir()
    os.mkfifo(folder / "fifo.mp4")


def _scrambled(data: bytes, chance: random.Random, start: int, hits: int, length: int) -> bytes:
    """Overwrite bytes at random places, but not in the last tenth, where an MP4 file has its index."""
    damaged = bytearray(data)
    for _ in range(hits):
        place = chance.randrange(start, len(data) * 6 // 10)
        damaged[place : place + length] = chance.randbytes(length)
    return bytes(damaged)


def _make_names(folder: Path, video: Path) -> None:
    folder.mkdir()
    for name in NAMES:
        if name == "symlink.mp4":
            (folder / name).symlink_to("../no_audio.mp4")
        elif name == "dangling.mp4":
            (folder / name).symlink_to("nowhere.mp4")
        else:
            shutil.copy(video, folder / name)
    (folder / "unreadable.mp4").chmod(0)


if __name__ == "__main__":
    for missing, why in make_odd_files(Path(sys.argv[1])).items():
        print(f"not made: {missing}: {why}")
