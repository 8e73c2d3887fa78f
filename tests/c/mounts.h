/*
 * Mounts that only the test sees. A case that may not make them is skipped.
 */
#ifndef TESTS_MOUNTS_H
#define TESTS_MOUNTS_H

#include "io.h"

#include <sched.h>
#include <sys/mount.h>

UNUSED static void
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return;
	CHECK(write(fd, text, strlen(text)) >= 0 || errno == EPERM);
	CHECK_EQ(close(fd), 0);
}

/*
 * Mounts made from here on are seen by this process alone. As root, or as the
 * root of a user namespace where those are allowed.
 */
UNUSED static void
private_mounts(void)
{
	char map[64];
	unsigned uid = geteuid(), gid = getegid();
	if (unshare(CLONE_NEWNS) == -1) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == -1)
			SKIP("no mount namespace may be made here");
		write_text("/proc/self/setgroups", "deny");
		snprintf(map, sizeof map, "0 %u 1", uid);
		write_text("/proc/self/uid_map", map);
		snprintf(map, sizeof map, "0 %u 1", gid);
		write_text("/proc/self/gid_map", map);
	}
	if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == -1)
		SKIP("mounts may not be made private here");
}

/* A directory with room for mounts, under a mount of its own. */
struct place {
	char root[SCRATCH_PATH];
	char at[4][SCRATCH_PATH + 8];
};

UNUSED static void
mount_at(const char *path)
{
	CHECK_EQ(mount("kqueue-test", path, "tmpfs", 0, "size=64k"), 0);
}

UNUSED static void
unmount(const char *path)
{
	CHECK_EQ(umount(path), 0);
}

UNUSED static void
begin(struct place *p)
{
	int i;
	private_mounts();
	scratch_directory(p->root);
	if (mount("kqueue-test", p->root, "tmpfs", 0, "size=64k") == -1) {
		CHECK_EQ(rmdir(p->root), 0);
		SKIP("nothing may be mounted here");
	}
	for (i = 0; i < 4; i++) {
		snprintf(p->at[i], sizeof p->at[i], "%s/%d", p->root, i);
		CHECK_EQ(mkdir(p->at[i], 0700), 0);
	}
}

UNUSED static void
end(struct place *p)
{
	CHECK_EQ(umount2(p->root, MNT_DETACH), 0);
	CHECK_EQ(rmdir(p->root), 0);
}

#endif
