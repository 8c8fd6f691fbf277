#!/usr/bin/env bash
# Real video devices without hardware and without a hypervisor: a User Mode Linux kernel with vivid (a webcam) and
# v4l2loopback (a virtual camera) built in. Its root is a read-only view of this machine's "/" under a layer in memory,
# so programs and Python environments are there as they are here. One CPU, slow system calls: assert counters and
# order in it, never speed.
#
#   uml.sh build                                build the kernel, once; 3 to 10 minutes; as root on Debian 12
#   uml.sh run [-t SECONDS] [-x 0|1] OUT CMD... run a command in it; -x is v4l2loopback's exclusive_caps
#
# run prints what the command prints and exits with its exit code (124: out of time, 125: the guest died). OUT is a
# folder of this machine that the command may write to. Inside: /dev/video0 is vivid, /dev/video10 is "TestCam".
set -euo pipefail

cache=${UML_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/deepprivacy-uml}
packages=(linux-source-6.1 gcc libc6-dev make flex bison bc xz-utils busybox-static v4l-utils)
enabled=(
    VIRTIO_UML UML_PCI_OVER_VIRTIO OVERLAY_FS HOSTFS TMPFS TMPFS_XATTR DEVTMPFS SHMEM INET UNIX HIGH_RES_TIMERS
    NO_HZ_IDLE MEDIA_SUPPORT MEDIA_SUPPORT_FILTER MEDIA_TEST_SUPPORT MEDIA_CAMERA_SUPPORT V4L_TEST_DRIVERS FB
    VIDEO_DEV VIDEO_VIVID DEBUG_INFO_NONE
)
disabled=(
    VIDEO_VIVID_CEC MODULES EXT4_FS REISERFS_FS ISO9660_FS NETFILTER IPV6 WIRELESS WLAN USB_SUPPORT HID SOUND RC_CORE
    MEDIA_SUBDRV_AUTOSELECT DEBUG_KERNEL SCSI MD AUTOFS_FS QUOTA UML_SOUND NETDEVICES ETHTOOL_NETLINK BPF_SYSCALL
    IO_URING XFRM INPUT WATCHDOG LOGO VT CGROUPS PROFILING
)

build() {
    local tree=$cache/linux-source-6.1
    mkdir -p "$cache"
    cd "$cache"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends --yes -qq "${packages[@]}" >apt.log
    apt-get download -qq v4l2loopback-dkms
    rm -rf "$tree" loopback
    dpkg-deb -x v4l2loopback-dkms_*.deb loopback
    tar xf /usr/src/linux-source-6.1.tar.xz
    cd "$tree"
    mkdir drivers/media/loopback
    cp ../loopback/usr/src/v4l2loopback-*/*.[ch] drivers/media/loopback/
    echo 'obj-y += v4l2loopback.o' >drivers/media/loopback/Makefile
    echo 'obj-$(CONFIG_VIDEO_DEV) += loopback/' >>drivers/media/Makefile
    make -s ARCH=um x86_64_defconfig
    ./scripts/config --set-val UML_PCI_OVER_VIRTIO_DEVICE_ID 1234 "${enabled[@]/#/-e}" "${disabled[@]/#/-d}"
    make -s ARCH=um olddefconfig
    for option in VIDEO_VIVID HOSTFS OVERLAY_FS HIGH_RES_TIMERS; do
        grep -q "CONFIG_$option=y" .config || { echo "error: the kernel's CONFIG_$option cannot be had" >&2; exit 1; }
    done
    make -s ARCH=um -j"${JOBS:-$(nproc)}" linux >../make.log 2>&1
    strip -o ../linux linux
    cd "$cache"
    rm -rf "$tree" loopback
}

run() {
    local limit=300 exclusive=1 out status=0
    while getopts t:x: option; do
        case $option in
            t) limit=$OPTARG ;;
            x) exclusive=$OPTARG ;;
            *) exit 2 ;;
        esac
    done
    shift $((OPTIND - 1))
    out=$(readlink -f "$1")
    shift
    write_init "$out"
    {
        printf 'export OUT=/out PATH=%q HOME=%q PYTHONPATH=%q\n' "$PATH" "$HOME" "${PYTHONPATH:-}"
        # Page faults are slow in there: memory that was had once is kept.
        echo 'export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=67108864'
        printf 'cd %q\n(' "$PWD"
        printf ' %q' "$@"
        printf ' ) </dev/null >/out/.stdout 2>/out/.stderr\necho $? >/out/.status\n'
    } >"$out/.guest"
    # The guest's memory is a file in TMPDIR, on a file system that allows execution.
    TMPDIR=/dev/shm timeout -k 5 "$limit" "$cache/linux" mem=3072M root=/dev/root rootfstype=hostfs rootflags=/ ro \
        init="$out/.init" shared_folder="$out" con=null con0=null,fd:1 quiet vivid.n_devs=1 v4l2loopback.devices=1 \
        v4l2loopback.exclusive_caps="$exclusive" v4l2loopback.video_nr=10 v4l2loopback.card_label=TestCam \
        </dev/null >"$out/.console" 2>&1 || status=$?
    [ ! -e "$out/.stdout" ] || cat "$out/.stdout"
    [ ! -e "$out/.stderr" ] || cat "$out/.stderr" >&2
    [ ! -e "$out/.status" ] || exit "$(cat "$out/.status")"
    case $status in 124 | 137) exit 124 ;; esac
    tail -20 "$out/.console" >&2
    exit 125
}

write_init() { # folder: the guest's first program
    cat >"$1/.init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
new=/mnt/new
$b mount -t proc proc /proc
shared=$($b sed -n 's/.*shared_folder=\([^ ]*\).*/\1/p' /proc/cmdline)
$b mount -t tmpfs -o size=80% tmpfs /mnt
$b mkdir /mnt/upper /mnt/work $new
$b mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay $new
$b mkdir -p $new/out
$b mount -t hostfs -o $shared none $new/out
for what in proc sysfs:sys devtmpfs:dev tmpfs:run; do
    $b mount -t ${what%:*} none $new/${what#*:}
done
$b mkdir -p $new/dev/shm
$b mount -t tmpfs none $new/dev/shm
$b ifconfig lo 127.0.0.1 up
$b chroot $new /bin/bash /out/.guest
$b sync
$b poweroff -f
INIT
    chmod +x "$1/.init"
    rm -f "$1"/.status "$1"/.stdout "$1"/.stderr
}

action=${1:?usage: uml.sh build | run [-t SECONDS] [-x 0|1] OUT CMD...}
shift
"$action" "$@"
