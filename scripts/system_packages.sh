#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing for "run" (the program) or "test" (its tests too).
# As root or with sudo it installs them; else it prints the command and fails. Does nothing where nothing is missing.
set -euo pipefail

purpose=${1:?usage: system_packages.sh run|test}
python=${PYTHON:-python3}
missing=()

need_library() { # soname, package
    PATH="$PATH:/sbin:/usr/sbin" ldconfig -p | grep -qF "$1 " || missing+=("$2")
}

# The Python package of OpenCV brings neither OpenGL nor GLib.
need_library libGL.so.1 libgl1
need_library libglib-2.0.so.0 libglib2.0-0
need_library libgthread-2.0.so.0 libglib2.0-0
need_library libxcb.so.1 libxcb1
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
if [ "$purpose" = test ]; then
    command -v ffmpeg >/dev/null || missing+=(ffmpeg) # makes the odd files and checks outputs independently
    # A real RTSP camera, run by the system's own Python.
    /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null \
        || missing+=(python3-gi python3-gst-1.0 gir1.2-gst-rtsp-server-1.0)
    for plugin in base:videoconvert good:rtp ugly:x264; do
        compgen -G "/usr/lib/*/gstreamer-1.0/libgst${plugin#*:}*.so" >/dev/null \
            || missing+=("gstreamer1.0-plugins-${plugin%%:*}")
    done
    command -v strace >/dev/null || missing+=(strace) # sees what a program tells to whom
    # Servers and a display for the live outputs.
    command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx)
    [ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] || missing+=(libnginx-mod-rtmp)
    command -v srt-live-transmit >/dev/null || missing+=(srt-tools)
    command -v Xvfb >/dev/null || missing+=(xvfb)
    command -v xdotool >/dev/null || missing+=(xdotool)
fi

[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
install="apt-get update && apt-get install --no-install-recommends --yes ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "error: missing on this system (Debian's names): ${missing[*]}; install them, then run make again" >&2
    exit 1
elif [ "$(id -u)" = 0 ]; then
    DEBIAN_FRONTEND=noninteractive bash -c "$install"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo DEBIAN_FRONTEND=noninteractive bash -c "$install"
else
    echo "error: packages are missing; run: sudo sh -c '$install', then make again" >&2
    exit 1
fi
