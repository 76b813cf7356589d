#!/bin/sh
# The first process under user-mode Linux. The kernel passes it the words after `--` on its command line:
#   $1  the directory shared with the machine outside: holds `command`, receives `output` and `status`
#   $2  version of control groups, v1 or v2
#   $3  seconds after which the command is killed
shared=$1 cgroup=$2 limit_s=$3
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
release=$(uname -r)
modules=/usr/lib/uml/modules/$release

# The machine's root file system is mounted read-only. Writes go into memory, and disappear with this kernel.
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/lib/modules /run/upper /run/work /run/root
ln -s "$modules" "/run/lib/modules/$release"
modprobe -d /run -a overlay veth bridge sch_netem sch_htb tun
mount -t overlay overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work /run/root
# A real new root, not chroot: a process that joins a mount namespace, as mnexec does, gets the root of its mounts.
cd /run/root || exit
mount --make-rprivate /
pivot_root . mnt
umount -l /mnt # the overlay keeps its own hold on it

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
ln -sfn /proc/self/fd /dev/fd
ln -sfn "$modules" "/lib/modules/$release" # for modules that the kernel loads by itself
mount -t hostfs none "$shared" -o "$shared"

mkdir -p /sys/fs/cgroup
if [ "$cgroup" = v2 ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
else
    mount -t tmpfs cgroup /sys/fs/cgroup
    for controller in cpu cpuacct memory pids; do
        mkdir /sys/fs/cgroup/$controller
        mount -t cgroup -o $controller cgroup /sys/fs/cgroup/$controller
    done
fi
ip link set lo up

timeout -k 5 "$limit_s" sh "$shared/command" >"$shared/output" 2>&1 </dev/null
echo $? >"$shared/status"
sync
echo o >/proc/sysrq-trigger # power off without an init system, which may not be installed
sleep 100
