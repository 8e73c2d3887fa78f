/*
 * EVFILT_VNODE.
 *
 * ON_BOTH(name) makes two cases of one body: disk_name on the file system of
 * /var/tmp, tmpfs_name on that of /dev/shm. The body runs in an empty
 * directory there, which is removed afterwards with all that is in it.
 */
#include "io.h"

#include <ftw.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#define ALL                                                                   \
	(NOTE_DELETE | NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB | NOTE_LINK |   \
	    NOTE_RENAME | NOTE_REVOKE | NOTE_TRUNCATE | NOTE_OPEN |           \
	    NOTE_CLOSE | NOTE_CLOSE_WRITE | NOTE_READ)
/* Those that a program's own open() and close() do not raise. */
#define MOST (ALL & ~(unsigned)(NOTE_OPEN | NOTE_CLOSE | NOTE_CLOSE_WRITE))

#define GREW (NOTE_WRITE | NOTE_EXTEND)
#define CUT (NOTE_WRITE | NOTE_ATTRIB | NOTE_TRUNCATE)

static char scratch[SCRATCH_PATH];

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static void
enter(const char *base)
{
	snprintf(scratch, sizeof scratch, "%s/kqueue-vnode-XXXXXX", base);
	CHECK(mkdtemp(scratch) != NULL);
	CHECK_EQ(chdir(scratch), 0);
}

static void
leave(void)
{
	CHECK_EQ(chdir("/"), 0);
	CHECK_EQ(nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void
enter_tmpfs(void)
{
	struct statfs fs;
	if (statfs("/dev/shm", &fs) != 0 || fs.f_type != 0x01021994)
		SKIP("no tmpfs at /dev/shm");
	enter("/dev/shm");
}

#define ON_DISK(name)                                                         \
	static void body_##name(void);                                        \
	TEST(name)                                                            \
	{                                                                     \
		enter("/var/tmp");                                            \
		body_##name();                                                \
		leave();                                                      \
	}                                                                     \
	static void body_##name(void)

#define ON_BOTH(name)                                                         \
	static void body_##name(void);                                        \
	TEST(disk_##name)                                                     \
	{                                                                     \
		enter("/var/tmp");                                            \
		body_##name();                                                \
		leave();                                                      \
	}                                                                     \
	TEST(tmpfs_##name)                                                    \
	{                                                                     \
		enter_tmpfs();                                                \
		body_##name();                                                \
		leave();                                                      \
	}                                                                     \
	static void body_##name(void)

static int
open_at(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		FAIL("%s: %s", name, strerror(errno));
	return fd;
}

/* A new file of size bytes, read and write. */
static int
make(const char *name, size_t size)
{
	int fd = open_at(name, O_CREAT | O_EXCL | O_RDWR);
	put(fd, size);
	return fd;
}

static int
open_directory(const char *name)
{
	return open_at(name, O_RDONLY | O_DIRECTORY);
}

static int
make_directory(const char *name)
{
	CHECK_EQ(mkdir(name, 0700), 0);
	return open_directory(name);
}

static void
add(int kq, int fd, unsigned flags, unsigned want)
{
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ADD | flags, want, 0,
	    UDATA(fd));
}

static void
closed(int fd)
{
	CHECK_EQ(close(fd), 0);
}

/* The next event is of this descriptor and has these notes. */
#define NOTES_OF(kq, fd, flags, notes)                                        \
	EXPECT(kq, (uintptr_t)(fd), EVFILT_VNODE, EV_ADD | (flags), notes, 0, \
	    UDATA(fd))

/* There is one event, of an EV_CLEAR knote, and no other. */
#define TELLS(kq, fd, notes)                                                  \
	do {                                                                  \
		CHECK(readable(kq));                                          \
		NOTES_OF(kq, fd, EV_CLEAR, notes);                            \
		EXPECT_QUIET(kq);                                             \
	} while (0)

/* --- the operations on a file ------------------------------------------- */

ON_BOTH(write_within_the_file_is_write)
{
	int kq = new_queue(), fd = make("f", 10);
	add(kq, fd, EV_CLEAR, ALL);
	EXPECT_QUIET(kq);
	CHECK_EQ(pwrite(fd, "abc", 3, 2), 3);
	TELLS(kq, fd, NOTE_WRITE);
	CHECK_EQ(pwrite(fd, "abc", 3, 7), 3);
	TELLS(kq, fd, NOTE_WRITE);
	CHECK_EQ(pwrite(fd, "", 0, 0), 0);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(write_past_the_end_is_write_and_extend)
{
	int kq = new_queue(), fd = make("f", 10);
	add(kq, fd, EV_CLEAR, ALL);
	put(fd, 3);
	TELLS(kq, fd, GREW);
	CHECK_EQ(pwrite(fd, "abc", 3, 12), 3);
	TELLS(kq, fd, GREW);
	CHECK_EQ(pwrite(fd, "abc", 3, 100000), 3);
	TELLS(kq, fd, GREW);
	closed(fd);
	closed(kq);
}

ON_BOTH(every_way_to_write_is_told)
{
	struct iovec part = {"abc", 3};
	int pipes[2], kq = new_queue(), fd = make("f", 0), from = make("g", 9);
	loff_t at = 0;
	off_t begin = 0;
	ssize_t copied;
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(writev(fd, &part, 1), 3);
	TELLS(kq, fd, GREW);
	CHECK_EQ(sendfile(fd, from, &begin, 3), 3);
	TELLS(kq, fd, GREW);
	CHECK_EQ(pipe2(pipes, O_CLOEXEC), 0);
	put(pipes[1], 3);
	CHECK_EQ(splice(pipes[0], NULL, fd, NULL, 3, 0), 3);
	TELLS(kq, fd, GREW);
	copied = copy_file_range(from, &at, fd, NULL, 3, 0);
	if (copied == 3)
		TELLS(kq, fd, GREW);
	CHECK_EQ(fallocate(fd, 0, 0, 1000), 0);
	TELLS(kq, fd, GREW);
	closed(pipes[0]);
	closed(pipes[1]);
	closed(from);
	closed(fd);
	closed(kq);
}

ON_BOTH(cut_is_attrib_truncate_and_write)
{
	int other, kq = new_queue(), fd = make("f", 10);
	add(kq, fd, EV_CLEAR, MOST);
	CHECK_EQ(ftruncate(fd, 4), 0);
	TELLS(kq, fd, CUT);
	CHECK_EQ(truncate("f", 1), 0);
	TELLS(kq, fd, CUT);
	other = open_at("f", O_WRONLY | O_TRUNC);
	TELLS(kq, fd, CUT);
	closed(other);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(truncation_that_grows_is_write_and_extend)
{
	int kq = new_queue(), fd = make("f", 10);
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(ftruncate(fd, 20), 0);
	TELLS(kq, fd, GREW);
	CHECK_EQ(ftruncate(fd, 20), 0);
	TELLS(kq, fd, NOTE_WRITE);
	closed(fd);
	closed(kq);
}

ON_BOTH(attributes_are_attrib)
{
	struct timespec times[2] = {{5, 5}, {6, 6}};
	int kq = new_queue(), fd = make("f", 10);
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	CHECK_EQ(chmod("f", 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	CHECK_EQ(fchown(fd, (uid_t)-1, getgid()), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	CHECK_EQ(futimens(fd, times), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	if (fsetxattr(fd, "user.kqueue", "x", 1, 0) == 0)
		TELLS(kq, fd, NOTE_ATTRIB);
	closed(fd);
	closed(kq);
}

ON_BOTH(links_are_link_and_the_last_is_delete)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(link("f", "g"), 0);
	TELLS(kq, fd, NOTE_LINK);
	CHECK_EQ(unlink("f"), 0);
	TELLS(kq, fd, NOTE_LINK);
	CHECK_EQ(unlink("g"), 0);
	TELLS(kq, fd, NOTE_DELETE);
	closed(fd);
	closed(kq);
}

/*
 * When the last name is another than the one it was opened by, the kernel
 * drops the watch, although the file is open still.
 */
ON_BOTH(unlinked_file_is_watched_on)
{
	int kq = new_queue(), fd = make("f", 0);
	CHECK_EQ(link("f", "g"), 0);
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(unlink("f"), 0);
	TELLS(kq, fd, NOTE_LINK);
	CHECK_EQ(unlink("g"), 0);
	TELLS(kq, fd, NOTE_DELETE);
	put(fd, 3);
	TELLS(kq, fd, GREW);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	CHECK_EQ(ftruncate(fd, 0), 0);
	TELLS(kq, fd, CUT);
	closed(fd);
	closed(kq);
}

ON_BOTH(file_that_was_unlinked_before_can_be_added)
{
	int kq = new_queue(), fd = make("f", 0);
	CHECK_EQ(unlink("f"), 0);
	add(kq, fd, EV_CLEAR, ALL);
	EXPECT_QUIET(kq);
	put(fd, 3);
	TELLS(kq, fd, GREW);
	closed(fd);
	closed(kq);
}

ON_BOTH(rename_is_rename)
{
	int kq = new_queue(), fd = make("f", 0), dir = make_directory("d");
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(rename("f", "g"), 0);
	TELLS(kq, fd, NOTE_RENAME);
	CHECK_EQ(rename("g", "d/g"), 0);
	TELLS(kq, fd, NOTE_RENAME);
	CHECK_EQ(rename("d/g", "d/g"), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(link("d/g", "h"), 0);
	TELLS(kq, fd, NOTE_LINK);
	/* Of two names of one file nothing is renamed. */
	CHECK_EQ(rename("h", "d/g"), 0);
	EXPECT_QUIET(kq);
	closed(dir);
	closed(fd);
	closed(kq);
}

ON_BOTH(file_replaced_by_a_rename_is_deleted)
{
	int kq = new_queue(), fd = make("f", 0), other = make("g", 0);
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(rename("g", "f"), 0);
	TELLS(kq, fd, NOTE_DELETE);
	closed(other);
	closed(fd);
	closed(kq);
}

ON_BOTH(file_replaced_with_a_link_left_is_link)
{
	int kq = new_queue(), fd = make("f", 0), other = make("g", 0);
	CHECK_EQ(link("f", "h"), 0);
	add(kq, fd, EV_CLEAR, ALL);
	CHECK_EQ(rename("g", "f"), 0);
	TELLS(kq, fd, NOTE_LINK);
	closed(other);
	closed(fd);
	closed(kq);
}

ON_BOTH(open_read_and_close_are_told)
{
	char byte;
	int other, kq = new_queue(), fd = make("f", 10);
	add(kq, fd, EV_CLEAR, ALL);
	other = open_at("f", O_RDONLY);
	TELLS(kq, fd, NOTE_OPEN);
	CHECK_EQ(read(other, &byte, 1), 1);
	TELLS(kq, fd, NOTE_READ);
	CHECK_EQ(pread(fd, &byte, 1, 0), 1);
	TELLS(kq, fd, NOTE_READ);
	closed(other);
	TELLS(kq, fd, NOTE_CLOSE);
	other = open_at("f", O_RDWR);
	TELLS(kq, fd, NOTE_OPEN);
	closed(other);
	TELLS(kq, fd, NOTE_CLOSE_WRITE);
	other = open_at("f", O_WRONLY | O_TRUNC);
	TELLS(kq, fd, NOTE_OPEN | CUT);
	closed(other);
	TELLS(kq, fd, NOTE_CLOSE_WRITE);
	CHECK_EQ(fsync(fd), 0);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

/* --- the operations on a directory -------------------------------------- */

ON_BOTH(entries_made_and_removed_are_write)
{
	int fd, kq = new_queue(), dir = make_directory("d");
	add(kq, dir, EV_CLEAR, MOST);
	fd = make("d/f", 0);
	TELLS(kq, dir, NOTE_WRITE);
	CHECK_EQ(symlink("f", "d/s"), 0);
	TELLS(kq, dir, NOTE_WRITE);
	CHECK_EQ(mkfifo("d/p", 0600), 0);
	TELLS(kq, dir, NOTE_WRITE);
	CHECK_EQ(link("d/f", "d/g"), 0);
	TELLS(kq, dir, NOTE_WRITE);
	CHECK_EQ(unlink("d/g"), 0);
	TELLS(kq, dir, NOTE_WRITE);
	CHECK_EQ(unlink("d/f"), 0);
	TELLS(kq, dir, NOTE_WRITE);
	closed(fd);
	closed(dir);
	closed(kq);
}

ON_BOTH(directories_made_and_removed_are_write_and_link)
{
	int kq = new_queue(), dir = make_directory("d");
	add(kq, dir, EV_CLEAR, ALL);
	CHECK_EQ(mkdir("d/e", 0700), 0);
	TELLS(kq, dir, NOTE_WRITE | NOTE_LINK);
	CHECK_EQ(rmdir("d/e"), 0);
	TELLS(kq, dir, NOTE_WRITE | NOTE_LINK);
	closed(dir);
	closed(kq);
}

ON_BOTH(rename_within_a_directory_is_write)
{
	int kq = new_queue(), dir = make_directory("d");
	closed(make("d/f", 0));
	CHECK_EQ(mkdir("d/e", 0700), 0);
	add(kq, dir, EV_CLEAR, ALL);
	CHECK_EQ(rename("d/f", "d/g"), 0);
	TELLS(kq, dir, NOTE_WRITE);
	CHECK_EQ(rename("d/e", "d/h"), 0);
	TELLS(kq, dir, NOTE_WRITE);
	closed(dir);
	closed(kq);
}

ON_BOTH(rename_within_that_replaces_a_directory_is_write_and_link)
{
	int kq = new_queue(), dir = make_directory("d");
	CHECK_EQ(mkdir("d/e", 0700), 0);
	CHECK_EQ(mkdir("d/f", 0700), 0);
	add(kq, dir, EV_CLEAR, ALL);
	CHECK_EQ(rename("d/e", "d/f"), 0);
	TELLS(kq, dir, NOTE_WRITE | NOTE_LINK);
	CHECK_EQ(rename("d/f", "d/e"), 0);
	TELLS(kq, dir, NOTE_WRITE);
	closed(dir);
	closed(kq);
}

ON_BOTH(file_moved_across_is_write_and_extend_to_both)
{
	int a = make_directory("a"), b = make_directory("b");
	int kq = new_queue(), other = new_queue();
	closed(make("a/f", 0));
	add(kq, a, EV_CLEAR, ALL);
	add(other, b, EV_CLEAR, ALL);
	CHECK_EQ(rename("a/f", "b/f"), 0);
	TELLS(kq, a, GREW);
	TELLS(other, b, GREW);
	CHECK_EQ(rename("b/f", "a/f"), 0);
	TELLS(kq, a, GREW);
	TELLS(other, b, GREW);
	closed(a);
	closed(b);
	closed(other);
	closed(kq);
}

ON_BOTH(move_between_two_directories_of_one_queue_tells_both)
{
	struct kevent got[3];
	int a = make_directory("a"), b = make_directory("b");
	int i, kq = new_queue();
	closed(make("a/f", 0));
	add(kq, a, EV_CLEAR, ALL);
	add(kq, b, EV_CLEAR, ALL);
	CHECK_EQ(rename("a/f", "b/f"), 0);
	CHECK_EQ(kevent(kq, NULL, 0, got, 3, &no_wait), 2);
	for (i = 0; i < 2; i++)
		CHECK_EQ(got[i].fflags, GREW);
	CHECK_EQ(got[0].ident + got[1].ident, a + b);
	EXPECT_QUIET(kq);
	closed(a);
	closed(b);
	closed(kq);
}

ON_BOTH(directory_moved_across_is_link_too)
{
	int a = make_directory("a"), b = make_directory("b");
	int kq = new_queue(), other = new_queue(), third = new_queue(), dir;
	dir = make_directory("a/d");
	add(kq, a, EV_CLEAR, ALL);
	add(other, b, EV_CLEAR, ALL);
	add(third, dir, EV_CLEAR, ALL);
	CHECK_EQ(rename("a/d", "b/d"), 0);
	TELLS(kq, a, GREW | NOTE_LINK);
	TELLS(other, b, GREW | NOTE_LINK);
	TELLS(third, dir, NOTE_RENAME);
	CHECK_EQ(mkdir("a/e", 0700), 0);
	TELLS(kq, a, NOTE_WRITE | NOTE_LINK);
	/* It takes the place of another: as many subdirectories as before. */
	CHECK_EQ(rename("b/d", "a/e"), 0);
	TELLS(kq, a, GREW);
	TELLS(other, b, GREW | NOTE_LINK);
	TELLS(third, dir, NOTE_RENAME);
	closed(a);
	closed(b);
	closed(dir);
	closed(third);
	closed(other);
	closed(kq);
}

ON_BOTH(removed_directory_is_delete)
{
	int kq = new_queue(), dir = make_directory("d");
	add(kq, dir, EV_CLEAR, ALL);
	CHECK_EQ(rmdir("d"), 0);
	TELLS(kq, dir, NOTE_DELETE);
	closed(dir);
	closed(kq);
}

ON_BOTH(removal_wakes_a_waiting_thread)
{
	struct sleeper s;
	int kq = new_queue(), dir = make_directory("d");
	add(kq, dir, EV_CLEAR, NOTE_DELETE);
	sleeper_start(&s, kq);
	CHECK_EQ(rmdir("d"), 0);
	CHECK_KEV(sleeper_join(&s), (uintptr_t)dir, EVFILT_VNODE,
	    EV_ADD | EV_CLEAR, NOTE_DELETE, 0, UDATA(dir));
	EXPECT_QUIET(kq);
	closed(dir);
	closed(kq);
}

ON_BOTH(directory_removed_after_a_move_is_delete)
{
	int kq = new_queue(), dir;
	CHECK_EQ(mkdir("a", 0700), 0);
	CHECK_EQ(mkdir("b", 0700), 0);
	dir = make_directory("a/d");
	add(kq, dir, EV_CLEAR, NOTE_DELETE | NOTE_RENAME);
	CHECK_EQ(rename("a/d", "b/e"), 0);
	TELLS(kq, dir, NOTE_RENAME);
	CHECK_EQ(rmdir("b/e"), 0);
	TELLS(kq, dir, NOTE_DELETE);
	closed(dir);
	closed(kq);
}

ON_BOTH(directory_moved_and_removed_at_once_is_delete)
{
	int kq = new_queue(), dir;
	CHECK_EQ(mkdir("a", 0700), 0);
	CHECK_EQ(mkdir("b", 0700), 0);
	dir = make_directory("a/d");
	add(kq, dir, EV_CLEAR, NOTE_DELETE);
	CHECK_EQ(rename("a/d", "b/e"), 0);
	CHECK_EQ(rmdir("b/e"), 0);
	TELLS(kq, dir, NOTE_DELETE);
	closed(dir);
	closed(kq);
}

ON_BOTH(directory_replaced_by_another_is_delete)
{
	int kq = new_queue(), dir = make_directory("d");
	CHECK_EQ(mkdir("e", 0700), 0);
	add(kq, dir, EV_CLEAR, ALL);
	CHECK_EQ(rename("e", "d"), 0);
	TELLS(kq, dir, NOTE_DELETE);
	closed(dir);
	closed(kq);
}

ON_BOTH(directory_and_its_parent_are_told_each_its_own)
{
	struct kevent got[3];
	int kq = new_queue(), top = make_directory("t"), dir;
	dir = make_directory("t/d");
	add(kq, top, EV_CLEAR, MOST);
	add(kq, dir, EV_CLEAR, NOTE_DELETE);
	CHECK_EQ(rmdir("t/d"), 0);
	CHECK_EQ(kevent(kq, NULL, 0, got, 3, &no_wait), 2);
	CHECK_EQ(got[0].fflags + got[1].fflags,
	    (NOTE_WRITE | NOTE_LINK) + NOTE_DELETE);
	EXPECT_QUIET(kq);
	/* The removed one needed its parent's watch; the other goes on. */
	closed(make("t/f", 0));
	TELLS(kq, top, NOTE_WRITE);
	closed(dir);
	closed(top);
	closed(kq);
}

ON_BOTH(removal_of_a_neighbour_is_silent)
{
	int kq = new_queue(), dir = make_directory("d");
	CHECK_EQ(mkdir("e", 0700), 0);
	add(kq, dir, EV_CLEAR, NOTE_DELETE);
	CHECK_EQ(rmdir("e"), 0);
	expect_none(kq);
	CHECK(!readable(kq));
	closed(dir);
	closed(kq);
}

ON_BOTH(what_children_do_is_nothing_to_the_directory)
{
	char byte;
	int kq = new_queue(), dir = make_directory("d"), fd = make("d/f", 5);
	add(kq, dir, EV_CLEAR, ALL);
	put(fd, 1);
	CHECK_EQ(fchmod(fd, 0640), 0);
	CHECK_EQ(pread(fd, &byte, 1, 0), 1);
	CHECK_EQ(ftruncate(fd, 0), 0);
	closed(open_at("d/f", O_RDONLY));
	expect_none(kq);
	CHECK(!readable(kq));
	closed(fd);
	closed(dir);
	closed(kq);
}

ON_BOTH(directory_itself_opened_read_and_changed_is_told)
{
	DIR *list;
	int kq = new_queue(), dir = make_directory("d");
	add(kq, dir, EV_CLEAR, ALL);
	CHECK_EQ(chmod("d", 0750), 0);
	TELLS(kq, dir, NOTE_ATTRIB);
	list = opendir("d");
	CHECK(list != NULL);
	TELLS(kq, dir, NOTE_OPEN);
	CHECK(readdir(list) != NULL);
	TELLS(kq, dir, NOTE_READ);
	CHECK_EQ(closedir(list), 0);
	TELLS(kq, dir, NOTE_CLOSE);
	CHECK_EQ(rename("d", "e"), 0);
	TELLS(kq, dir, NOTE_RENAME);
	closed(dir);
	closed(kq);
}

/* --- by the open file, not the name -------------------------------------- */

ON_BOTH(file_without_a_name_is_told)
{
	char path[64];
	int kq = new_queue(), fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC,
	    0600);
	if (fd < 0)
		SKIP("no O_TMPFILE on this file system");
	add(kq, fd, EV_CLEAR, ALL);
	put(fd, 3);
	TELLS(kq, fd, GREW);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	CHECK_EQ(linkat(AT_FDCWD, path, AT_FDCWD, "f", AT_SYMLINK_FOLLOW), 0);
	TELLS(kq, fd, NOTE_LINK);
	closed(fd);
	closed(kq);
}

ON_BOTH(change_by_another_name_is_told)
{
	int other, kq = new_queue(), fd = make("f", 0);
	CHECK_EQ(link("f", "g"), 0);
	add(kq, fd, EV_CLEAR, MOST);
	other = open_at("g", O_WRONLY);
	put(other, 5);
	TELLS(kq, fd, GREW);
	closed(other);
	closed(fd);
	closed(kq);
}

ON_BOTH(new_file_of_the_old_name_is_not_told)
{
	int other, kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, MOST);
	CHECK_EQ(rename("f", "g"), 0);
	TELLS(kq, fd, NOTE_RENAME);
	other = make("f", 10);
	EXPECT_QUIET(kq);
	put(fd, 1);
	TELLS(kq, fd, GREW);
	closed(other);
	closed(fd);
	closed(kq);
}

ON_BOTH(two_descriptors_of_one_file_are_both_told)
{
	struct kevent got[3];
	int kq = new_queue(), fd = make("f", 0), other = open_at("f", O_RDWR);
	add(kq, fd, EV_CLEAR, NOTE_WRITE);
	add(kq, other, EV_CLEAR, NOTE_ATTRIB);
	put(fd, 1);
	TELLS(kq, fd, GREW);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, other, NOTE_ATTRIB);
	/* Truncation is in the wishes of both. */
	CHECK_EQ(ftruncate(fd, 0), 0);
	CHECK_EQ(kevent(kq, NULL, 0, got, 3, &no_wait), 2);
	CHECK_EQ(got[0].fflags, CUT);
	CHECK_EQ(got[1].fflags, CUT);
	EXPECT_QUIET(kq);
	/* The watch that they share serves the one that stays. */
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	put(fd, 1);
	expect_none(kq);
	CHECK_EQ(fchmod(fd, 0600), 0);
	TELLS(kq, other, NOTE_ATTRIB);
	closed(other);
	closed(fd);
	closed(kq);
}

ON_DISK(the_shared_watch_asks_for_no_more_than_is_wanted)
{
	int kq = new_queue(), fd = make("f", 0), other = open_at("f", O_RDWR);
	add(kq, fd, EV_CLEAR, ALL);
	add(kq, other, EV_CLEAR, NOTE_WRITE);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	closed(open_at("f", O_RDONLY));
	CHECK(!readable(kq));
	add(kq, other, 0, NOTE_ATTRIB);
	put(fd, 1);
	/* Cutting is told by the same event as writing. */
	expect_none(kq);
	add(kq, other, 0, NOTE_RENAME);
	put(fd, 1);
	CHECK(!readable(kq));
	CHECK_EQ(rename("f", "g"), 0);
	TELLS(kq, other, NOTE_RENAME);
	closed(other);
	closed(fd);
	closed(kq);
}

ON_DISK(o_path_descriptor_is_told)
{
	int kq = new_queue(), fd, path;
	fd = make("f", 0);
	path = open_at("f", O_PATH);
	add(kq, path, EV_CLEAR, MOST);
	put(fd, 1);
	TELLS(kq, path, GREW);
	closed(path);
	closed(fd);
	closed(kq);
}

TEST(memfd_is_told_within_a_tenth_of_a_second)
{
	int kq = new_queue(), fd = memfd_create("test", MFD_CLOEXEC);
	CHECK(fd >= 0);
	add(kq, fd, EV_CLEAR, ALL);
	expect_none(kq);
	put(fd, 3);
	NOTES_OF(kq, fd, EV_CLEAR, GREW);
	expect_none(kq);
	CHECK_EQ(ftruncate(fd, 1), 0);
	NOTES_OF(kq, fd, EV_CLEAR, CUT);
	expect_none(kq);
	CHECK_EQ(fchmod(fd, 0640), 0);
	NOTES_OF(kq, fd, EV_CLEAR, NOTE_ATTRIB);
	expect_none(kq);
	/* Collected, though nobody looks meanwhile. */
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DISABLE, ALL, 0, UDATA(fd));
	put(fd, 3);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, ALL, 0, UDATA(fd));
	NOTES_OF(kq, fd, EV_CLEAR, GREW);
	expect_none(kq);
	closed(fd);
	closed(kq);
}

TEST(fifo_with_a_name_is_a_file)
{
	struct fifo f;
	int kq = new_queue(), fd;
	make_fifo(&f);
	fd = open_fifo(&f, O_RDWR);
	add(kq, fd, EV_CLEAR, NOTE_ATTRIB | NOTE_DELETE);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	remove_fifo(&f);
	TELLS(kq, fd, NOTE_DELETE);
	closed(fd);
	closed(kq);
}

TEST(device_is_accepted)
{
	int kq = new_queue(), fd = open_at("/dev/null", O_RDWR);
	add(kq, fd, EV_CLEAR, NOTE_DELETE | NOTE_RENAME);
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	closed(fd);
	closed(kq);
}

/* --- wanting, collecting, clearing ---------------------------------------- */

ON_BOTH(one_wanted_note_brings_all_of_its_operation)
{
	int kq = new_queue(), fd = make("f", 10);
	add(kq, fd, EV_CLEAR, NOTE_EXTEND);
	put(fd, 1);
	TELLS(kq, fd, GREW);
	CHECK_EQ(pwrite(fd, "x", 1, 0), 1);
	expect_none(kq);
	add(kq, fd, 0, NOTE_TRUNCATE);
	CHECK_EQ(ftruncate(fd, 3), 0);
	TELLS(kq, fd, CUT);
	add(kq, fd, 0, NOTE_ATTRIB);
	CHECK_EQ(ftruncate(fd, 1), 0);
	TELLS(kq, fd, CUT);
	put(fd, 9);
	expect_none(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(what_is_not_wanted_is_silent)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, NOTE_RENAME);
	put(fd, 1);
	CHECK_EQ(fchmod(fd, 0640), 0);
	CHECK_EQ(link("f", "g"), 0);
	closed(open_at("f", O_RDONLY));
	EXPECT_QUIET(kq);
	CHECK_EQ(rename("f", "h"), 0);
	TELLS(kq, fd, NOTE_RENAME);
	closed(fd);
	closed(kq);
}

ON_BOTH(notes_pile_up_into_one_event)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, ALL);
	put(fd, 1);
	CHECK_EQ(rename("f", "g"), 0);
	CHECK_EQ(fchmod(fd, 0640), 0);
	CHECK_EQ(unlink("g"), 0);
	TELLS(kq, fd,
	    GREW | NOTE_RENAME | NOTE_ATTRIB | NOTE_DELETE);
	closed(fd);
	closed(kq);
}

ON_BOTH(without_clear_the_notes_stay)
{
	int i, kq = new_queue(), fd = make("f", 10);
	add(kq, fd, 0, ALL);
	EXPECT_QUIET(kq);
	CHECK_EQ(pwrite(fd, "x", 1, 0), 1);
	for (i = 0; i < 3; i++) {
		CHECK(readable(kq));
		NOTES_OF(kq, fd, 0, NOTE_WRITE);
	}
	CHECK_EQ(fchmod(fd, 0640), 0);
	for (i = 0; i < 3; i++)
		NOTES_OF(kq, fd, 0, NOTE_WRITE | NOTE_ATTRIB);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(oneshot_brings_what_came_until_then_and_is_gone)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_ONESHOT, ALL);
	put(fd, 1);
	CHECK_EQ(fchmod(fd, 0640), 0);
	NOTES_OF(kq, fd, EV_ONESHOT, GREW | NOTE_ATTRIB);
	EXPECT_QUIET(kq);
	put(fd, 1);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	closed(fd);
	closed(kq);
}

ON_BOTH(dispatch_keeps_the_notes)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_DISPATCH, ALL);
	put(fd, 1);
	NOTES_OF(kq, fd, EV_DISPATCH, GREW);
	EXPECT_QUIET(kq);
	CHECK_EQ(fchmod(fd, 0640), 0);
	expect_none(kq);
	CHECK(!readable(kq));
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, ALL, 0, UDATA(fd));
	NOTES_OF(kq, fd, EV_DISPATCH, GREW | NOTE_ATTRIB);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(dispatch_with_clear_forgets_them)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_DISPATCH | EV_CLEAR, ALL);
	put(fd, 1);
	NOTES_OF(kq, fd, EV_DISPATCH | EV_CLEAR, GREW);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, ALL, 0, UDATA(fd));
	EXPECT_QUIET(kq);
	CHECK_EQ(fchmod(fd, 0640), 0);
	NOTES_OF(kq, fd, EV_DISPATCH | EV_CLEAR, NOTE_ATTRIB);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(disabled_knote_collects)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR | EV_DISABLE, ALL);
	put(fd, 1);
	expect_none(kq);
	CHECK(!readable(kq));
	CHECK_EQ(rename("f", "g"), 0);
	/* Not even read when it is enabled: that comes later. */
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, ALL, 0, UDATA(fd));
	TELLS(kq, fd, GREW | NOTE_RENAME);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DISABLE, ALL, 0, UDATA(fd));
	CHECK_EQ(fchmod(fd, 0640), 0);
	expect_none(kq);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, ALL, 0, UDATA(fd));
	TELLS(kq, fd, NOTE_ATTRIB);
	closed(fd);
	closed(kq);
}

ON_BOTH(event_pending_when_disabled_waits_for_enable)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, 0, ALL);
	put(fd, 1);
	NOTES_OF(kq, fd, 0, GREW);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DISABLE, ALL, 0, UDATA(fd));
	EXPECT_QUIET(kq);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, ALL, 0, UDATA(fd));
	NOTES_OF(kq, fd, 0, GREW);
	closed(fd);
	closed(kq);
}

ON_BOTH(second_add_wants_anew_and_keeps_what_is_collected)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR | EV_DISABLE, NOTE_WRITE);
	put(fd, 1);
	/* It is collected now, and disabled so that it is not returned. */
	expect_none(kq);
	add(kq, fd, EV_ENABLE, NOTE_ATTRIB);
	TELLS(kq, fd, GREW);
	put(fd, 1);
	expect_none(kq);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	closed(fd);
	closed(kq);
}

ON_BOTH(bare_enable_replaces_what_is_wanted)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, NOTE_WRITE);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, NOTE_ATTRIB, 0,
	    UDATA(fd));
	put(fd, 1);
	expect_none(kq);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	closed(fd);
	closed(kq);
}

ON_BOTH(nothing_wanted_is_nothing_told)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, 0);
	put(fd, 1);
	CHECK_EQ(unlink("f"), 0);
	EXPECT_QUIET(kq);
	/* Unknown bits are taken, and nothing has them. */
	add(kq, fd, 0, 0xfffff000);
	put(fd, 1);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(what_was_before_is_not_told)
{
	int kq = new_queue(), fd = make("f", 0), other = open_at("f", O_RDWR);
	put(fd, 1);
	add(kq, fd, EV_CLEAR, NOTE_WRITE);
	EXPECT_QUIET(kq);
	put(fd, 1);
	/* That waits to be read, and is the old knote's alone. */
	add(kq, other, EV_CLEAR, NOTE_WRITE);
	TELLS(kq, fd, GREW);
	/* It would merge with what was there, were there no mark between. */
	put(fd, 1);
	CHANGE(kq, (uintptr_t)other, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	add(kq, other, EV_CLEAR, NOTE_WRITE);
	CHECK_EQ(pwrite(fd, "x", 1, 0), 1);
	{
		struct kevent got[3];
		int i, n = kevent(kq, NULL, 0, got, 3, &no_wait);
		CHECK_EQ(n, 2);
		for (i = 0; i < n; i++)
			CHECK_EQ(got[i].fflags,
			    got[i].ident == (uintptr_t)fd ? GREW : NOTE_WRITE);
	}
	EXPECT_QUIET(kq);
	closed(other);
	closed(fd);
	closed(kq);
}

ON_BOTH(delete_takes_what_pends)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, ALL);
	put(fd, 1);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	expect_none(kq);
	CHECK(!readable(kq));
	add(kq, fd, EV_CLEAR, ALL);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

ON_BOTH(two_queues_collect_each_for_itself)
{
	int a = new_queue(), b = new_queue(), fd = make("f", 0);
	add(a, fd, EV_CLEAR, NOTE_WRITE);
	add(b, fd, 0, ALL);
	put(fd, 1);
	TELLS(a, fd, GREW);
	CHECK_EQ(fchmod(fd, 0640), 0);
	EXPECT_QUIET(a);
	NOTES_OF(b, fd, 0, GREW | NOTE_ATTRIB);
	closed(fd);
	closed(a);
	closed(b);
}

ON_BOTH(read_and_vnode_of_one_file_share_the_watch)
{
	struct kevent got[3];
	int i, n, kq = new_queue(), fd = make("f", 3);
	add(kq, fd, EV_CLEAR, NOTE_ATTRIB);
	CHANGE(kq, (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 0, UDATA(1));
	EXPECT_QUIET(kq);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	CHECK_EQ(pwrite(fd, "abc", 3, 3), 3);
	EXPECT(kq, (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 3, UDATA(1));
	CHECK_EQ(ftruncate(fd, 4), 0);
	n = kevent(kq, NULL, 0, got, 3, &no_wait);
	CHECK_EQ(n, 2);
	for (i = 0; i < n; i++)
		if (got[i].filter == EVFILT_READ)
			CHECK_EQ(got[i].data, 1);
		else
			CHECK_EQ(got[i].fflags, CUT);
	CHANGE(kq, (uintptr_t)fd, EVFILT_READ, EV_DELETE, 0, 0, NULL);
	EXPECT_QUIET(kq);
	CHECK_EQ(fchmod(fd, 0600), 0);
	TELLS(kq, fd, NOTE_ATTRIB);
	closed(fd);
	closed(kq);
}

ON_DISK(forceoneshot_brings_it_now)
{
	int kq = new_queue(), fd = make("f", 3);
	add(kq, fd, EV_CLEAR, ALL);
	CHANGE(kq, (uintptr_t)fd, EVFILT_VNODE, EV_FORCEONESHOT, ALL, 0,
	    UDATA(fd));
	NOTES_OF(kq, fd, EV_CLEAR | EV_ONESHOT, 0);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	closed(fd);
	closed(kq);
}

ON_DISK(of_two_waiting_threads_one_gets_it)
{
	struct sleeper s, t;
	int kq = new_queue(), fd = make("f", 3);
	add(kq, fd, EV_CLEAR, NOTE_WRITE);
	sleeper_start(&s, kq);
	sleeper_start(&t, kq);
	put(fd, 1);
	put(fd, 0);
	/* The other one is let go by a user event. */
	WAIT_FOR(!readable(kq));
	CHANGE(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, NULL);
	CHANGE(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL);
	{
		struct kevent a = sleeper_join(&s), b = sleeper_join(&t);
		CHECK_EQ(a.filter + b.filter, EVFILT_VNODE + EVFILT_USER);
	}
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

/* --- descriptors ---------------------------------------------------------- */

ON_BOTH(closed_descriptor_has_no_knote)
{
	int kq = new_queue(), fd = make("f", 0), other = open_at("f", O_RDWR);
	add(kq, fd, EV_CLEAR, ALL);
	put(fd, 1);
	closed(fd);
	put(other, 5);
	expect_none(kq);
	CHECK(!readable(kq));
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0,
	    NULL), EBADF);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ENABLE, 0, 0,
	    NULL), EBADF);
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ADD, 0, 0,
	    NULL), EBADF);
	closed(other);
	closed(kq);
}

ON_BOTH(number_used_again_starts_clean)
{
	int kq = new_queue(), fd = make("f", 0), other = open_at("f", O_RDWR);
	int again;
	add(kq, fd, EV_CLEAR, ALL);
	put(fd, 1);
	closed(fd);
	again = make("g", 0);
	CHECK_EQ(again, fd);
	put(again, 1);
	put(other, 5);
	expect_none(kq);
	CHECK(!readable(kq));
	CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0,
	    NULL), ENOENT);
	add(kq, again, EV_CLEAR, ALL);
	put(other, 5);
	EXPECT_QUIET(kq);
	put(again, 1);
	TELLS(kq, again, GREW);
	closed(again);
	closed(other);
	closed(kq);
}

ON_BOTH(add_to_a_number_used_again_is_a_new_knote)
{
	int kq = new_queue(), fd = make("f", 0), again;
	add(kq, fd, 0, ALL);
	put(fd, 1);
	NOTES_OF(kq, fd, 0, GREW);
	closed(fd);
	again = make("g", 0);
	CHECK_EQ(again, fd);
	add(kq, again, EV_CLEAR, NOTE_ATTRIB);
	EXPECT_QUIET(kq);
	CHECK_EQ(fchmod(again, 0640), 0);
	TELLS(kq, again, NOTE_ATTRIB);
	closed(again);
	closed(kq);
}

TEST(what_is_no_file_is_einval)
{
	int fds[2], i, kq = new_queue(), bad[8], n = 0;
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	bad[n++] = fds[0];
	bad[n++] = fds[1];
	bad[n++] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bad[n++] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bad[n++] = new_queue();
	bad[n++] = open_at("/proc/self/mountinfo", O_RDONLY);
	for (i = 0; i < n - 1; i++) {
		CHECK(bad[i] >= 0);
		CHECK_FAILS(change(kq, (uintptr_t)bad[i], EVFILT_VNODE,
		    EV_ADD, ALL, 0, NULL), EINVAL);
		CHECK_FAILS(change(kq, (uintptr_t)bad[i], EVFILT_VNODE,
		    EV_DELETE, ALL, 0, NULL), ENOENT);
	}
	/* A file of /proc is a file. */
	add(kq, bad[i], EV_CLEAR, NOTE_ATTRIB);
	EXPECT_QUIET(kq);
	CHECK_FAILS(change(kq, (uintptr_t)kq, EVFILT_VNODE, EV_ADD, ALL, 0,
	    NULL), EINVAL);
	for (i = 0; i < n; i++)
		closed(bad[i]);
	closed(kq);
}

TEST(what_is_not_open_is_ebadf_for_every_action)
{
	static const unsigned actions[] = {EV_ADD, EV_DELETE, EV_ENABLE,
	    EV_DISABLE, 0};
	int kq = new_queue();
	size_t i;
	for (i = 0; i < sizeof actions / sizeof *actions; i++) {
		CHECK_FAILS(change(kq, 999, EVFILT_VNODE, actions[i], ALL, 0,
		    NULL), EBADF);
		CHECK_FAILS(change(kq, (uintptr_t)-1, EVFILT_VNODE, actions[i],
		    ALL, 0, NULL), EBADF);
		CHECK_FAILS(change(kq, (uintptr_t)INT_MAX + 1, EVFILT_VNODE,
		    actions[i], ALL, 0, NULL), EBADF);
	}
	EXPECT_QUIET(kq);
	closed(kq);
}

/* --- many, at once, and too many ------------------------------------------ */

static void
raise_descriptor_limit(rlim_t wanted)
{
	struct rlimit limit;
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur < wanted) {
		limit.rlim_cur = wanted < limit.rlim_max ? wanted
							 : limit.rlim_max;
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	}
	if (limit.rlim_cur < wanted)
		SKIP("too few descriptors are allowed here");
}

ON_DISK(ten_thousand_files_in_one_queue)
{
	enum { FILES = 10000 };
	static int fds[FILES];
	/* By number: what was given is not in one row. */
	static int index_of[FILES + 1000];
	static char seen[FILES];
	struct kevent got[64];
	int i, n, left, kq;
	char name[32];
	raise_descriptor_limit(FILES + 1000);
	kq = new_queue();
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%d", i);
		fds[i] = make(name, 0);
		CHECK(fds[i] < FILES + 1000);
		index_of[fds[i]] = i;
		add(kq, fds[i], EV_CLEAR, NOTE_WRITE | NOTE_DELETE);
	}
	EXPECT_QUIET(kq);
	for (i = 0; i < FILES; i += 2)
		put(fds[i], 1);
	for (left = FILES / 2; left > 0; left -= n) {
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		n = kevent(kq, NULL, 0, got, 64, &ts);
		CHECK(n > 0);
		for (i = 0; i < n; i++) {
			int at = index_of[got[i].ident];
			CHECK_EQ(got[i].fflags, GREW);
			CHECK_EQ(fds[at], got[i].ident);
			CHECK_EQ(at % 2, 0);
			CHECK_EQ(seen[at]++, 0);
		}
	}
	EXPECT_QUIET(kq);
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%d", i);
		CHECK_EQ(unlink(name), 0);
		if (i % 2 == 0)
			CHANGE(kq, (uintptr_t)fds[i], EVFILT_VNODE, EV_DELETE,
			    0, 0, NULL);
	}
	for (left = FILES / 2; left > 0; left -= n) {
		n = kevent(kq, NULL, 0, got, 64, &no_wait);
		CHECK(n > 0);
		for (i = 0; i < n; i++)
			CHECK_EQ(got[i].fflags, NOTE_DELETE);
	}
	EXPECT_QUIET(kq);
	for (i = 0; i < FILES; i++)
		closed(fds[i]);
	closed(kq);
}

enum { CROWD = 300 };

/*
 * More queues than a user has instances, by default or, so that others need
 * not wait, by a limit of this process's own.
 */
static void
few_instances(void)
{
	(void)limit_inotify("instances", 30);
}

struct crowd {
	int kq[CROWD], fd[CROWD];
};

static void
gather(struct crowd *c)
{
	char name[32];
	int i;
	raise_descriptor_limit(4096);
	few_instances();
	for (i = 0; i < CROWD; i++) {
		snprintf(name, sizeof name, "f%d", i);
		c->fd[i] = make(name, 0);
		c->kq[i] = new_queue();
		add(c->kq[i], c->fd[i], EV_CLEAR, MOST);
	}
	for (i = 0; i < CROWD; i++)
		EXPECT_QUIET(c->kq[i]);
}

static void
disperse(struct crowd *c)
{
	int i;
	for (i = 0; i < CROWD; i++) {
		closed(c->kq[i]);
		closed(c->fd[i]);
	}
}

/* More than a user has instances: each is told of its file, and of no other. */
ON_DISK(three_hundred_queues_have_a_file_each)
{
	static struct crowd c;
	int i;
	gather(&c);
	for (i = 0; i < CROWD; i++)
		put(c.fd[i], 1);
	for (i = 0; i < CROWD; i++)
		TELLS(c.kq[i], c.fd[i], GREW);
	for (i = CROWD - 1; i >= 0; i--) {
		CHECK_EQ(fchmod(c.fd[i], 0640), 0);
		TELLS(c.kq[i], c.fd[i], NOTE_ATTRIB);
	}
	disperse(&c);
}

ON_DISK(three_hundred_queues_watch_one_file)
{
	static int kq[CROWD];
	int i, fd = make("f", 0);
	raise_descriptor_limit(4096);
	few_instances();
	for (i = 0; i < CROWD; i++) {
		kq[i] = new_queue();
		add(kq[i], fd, EV_CLEAR, i % 2 == 0 ? MOST : NOTE_ATTRIB);
	}
	put(fd, 1);
	for (i = 0; i < CROWD; i++)
		if (i % 2 == 0)
			TELLS(kq[i], fd, GREW);
		else
			expect_none(kq[i]);
	for (i = 0; i < CROWD; i += 3)
		closed(kq[i]);
	libkqueue_drain_pending_close();
	CHECK_EQ(fchmod(fd, 0640), 0);
	for (i = 0; i < CROWD; i++)
		if (i % 3 != 0)
			TELLS(kq[i], fd, NOTE_ATTRIB);
	for (i = 0; i < CROWD; i++)
		if (i % 3 != 0)
			closed(kq[i]);
	closed(fd);
}

ON_DISK(what_was_before_is_not_told_by_a_shared_instance)
{
	int i, kq[4], fd = make("f", 0);
	/* Two have their own, and the others share the third. */
	if (!limit_inotify("instances", 3))
		SKIP("inotify's limits cannot be lowered here");
	for (i = 0; i < 3; i++) {
		kq[i] = new_queue();
		add(kq[i], fd, EV_CLEAR, ALL);
	}
	put(fd, 1);
	kq[3] = new_queue();
	add(kq[3], fd, EV_CLEAR, ALL);
	expect_none(kq[3]);
	for (i = 0; i < 3; i++)
		TELLS(kq[i], fd, GREW);
	/* What waits in the mailbox is the old knote's. */
	put(fd, 1);
	CHECK(readable(kq[3]));
	TELLS(kq[2], fd, GREW);
	CHANGE(kq[3], (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	add(kq[3], fd, EV_CLEAR, ALL);
	expect_none(kq[3]);
	CHECK_EQ(fchmod(fd, 0640), 0);
	TELLS(kq[3], fd, NOTE_ATTRIB);
	TELLS(kq[2], fd, NOTE_ATTRIB);
	for (i = 0; i < 4; i++)
		closed(kq[i]);
	closed(fd);
}

/* They sleep when what they wait for is read by another queue's thread. */
ON_DISK(sleepers_that_share_an_instance_are_woken)
{
	static struct crowd c;
	struct sleeper s[4];
	static const int at[4] = {0, 200, 250, 299};
	int i;
	gather(&c);
	for (i = 0; i < 4; i++)
		sleeper_start(&s[i], c.kq[at[i]]);
	for (i = 3; i >= 0; i--) {
		put(c.fd[at[i]], 1);
		CHECK_EQ(sleeper_join(&s[i]).fflags, GREW);
		EXPECT_QUIET(c.kq[at[i]]);
	}
	/* Read by the one, for the other, which is asked by poll() alone. */
	put(c.fd[200], 1);
	expect_none(c.kq[250]);
	wait_poll(c.kq[200], POLLIN);
	TELLS(c.kq[200], c.fd[200], GREW);
	disperse(&c);
}

static long
limit_of(const char *path)
{
	long limit = -1;
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return -1;
	if (fscanf(f, "%ld", &limit) != 1)
		limit = -1;
	fclose(f);
	return limit;
}

ON_DISK(without_any_instance_left_files_are_looked_at)
{
	int kq, fd = make("f", 0), dir = make_directory("d");
	if (!limit_inotify("instances", 0))
		SKIP("inotify's limits cannot be lowered here");
	kq = new_queue();
	add(kq, fd, EV_CLEAR, ALL);
	add(kq, dir, EV_CLEAR, ALL);
	expect_none(kq);
	put(fd, 1);
	NOTES_OF(kq, fd, EV_CLEAR, GREW);
	expect_none(kq);
	CHECK_EQ(fchmod(fd, 0640), 0);
	NOTES_OF(kq, fd, EV_CLEAR, NOTE_ATTRIB);
	CHECK_EQ(link("f", "g"), 0);
	NOTES_OF(kq, fd, EV_CLEAR, NOTE_LINK);
	CHECK_EQ(ftruncate(fd, 0), 0);
	NOTES_OF(kq, fd, EV_CLEAR, CUT);
	CHECK_EQ(unlink("f"), 0);
	CHECK_EQ(unlink("g"), 0);
	NOTES_OF(kq, fd, EV_CLEAR, NOTE_DELETE);
	expect_none(kq);
	CHECK_EQ(mkdir("d/e", 0700), 0);
	NOTES_OF(kq, dir, EV_CLEAR, NOTE_WRITE | NOTE_LINK);
	CHECK_EQ(rmdir("d/e"), 0);
	NOTES_OF(kq, dir, EV_CLEAR, NOTE_WRITE | NOTE_LINK);
	closed(make("d/f", 0));
	NOTES_OF(kq, dir, EV_CLEAR, NOTE_WRITE);
	CHECK_EQ(unlink("d/f"), 0);
	NOTES_OF(kq, dir, EV_CLEAR, NOTE_WRITE);
	CHECK_EQ(rmdir("d"), 0);
	NOTES_OF(kq, dir, EV_CLEAR, NOTE_DELETE);
	expect_none(kq);
	closed(fd);
	closed(dir);
	closed(kq);
}

ON_DISK(without_any_watch_left_files_are_looked_at)
{
	int kq = new_queue(), fd = make("f", 0), told = make("g", 0);
	if (!limit_inotify("watches", 1))
		SKIP("inotify's limits cannot be lowered here");
	add(kq, told, EV_CLEAR, ALL);
	add(kq, fd, EV_CLEAR, ALL);
	put(fd, 1);
	NOTES_OF(kq, fd, EV_CLEAR, GREW);
	expect_none(kq);
	put(told, 1);
	TELLS(kq, told, GREW);
	CHECK_EQ(unlink("f"), 0);
	NOTES_OF(kq, fd, EV_CLEAR, NOTE_DELETE);
	expect_none(kq);
	closed(told);
	closed(fd);
	closed(kq);
}

/* The parent to be watched is the new one, also if the move was lost. */
ON_BOTH(directory_moved_beyond_the_kernels_room_tells_of_its_removal)
{
	long i, room = limit_of("/proc/sys/fs/inotify/max_queued_events");
	int kq = new_queue(), noise = make("n", 1), moved, other;
	if (room <= 0 || room > 100000)
		SKIP("the kernel's room for events is not known, or large");
	moved = make_directory("m");
	other = make_directory("p");
	add(kq, noise, EV_CLEAR, NOTE_WRITE | NOTE_ATTRIB);
	add(kq, moved, EV_CLEAR, NOTE_DELETE);
	for (i = 0; i <= room; i++) {
		CHECK_EQ(pwrite(noise, "x", 1, 0), 1);
		CHECK_EQ(fchmod(noise, 0640), 0);
	}
	CHECK_EQ(rename("m", "p/m"), 0);
	TELLS(kq, noise, NOTE_WRITE | NOTE_ATTRIB);
	EXPECT_QUIET(kq);
	CHECK_EQ(rmdir("p/m"), 0);
	TELLS(kq, moved, NOTE_DELETE);
	EXPECT_QUIET(kq);
	closed(noise);
	closed(moved);
	closed(other);
	closed(kq);
}

/* More events than the kernel keeps: the sum is told all the same. */
ON_BOTH(events_beyond_the_kernels_room_are_made_up_for)
{
	long i, room = limit_of("/proc/sys/fs/inotify/max_queued_events");
	int kq = new_queue(), noise = make("n", 1), dir = make_directory("d");
	int grown = make("g", 5), cut = make("c", 5), linked = make("l", 5);
	int mode = make("m", 5), gone = make("x", 5), same = make("s", 5);
	int removed = make_directory("r"), n, seen = 0;
	struct kevent got[16];
	if (room <= 0 || room > 100000)
		SKIP("the kernel's room for events is not known, or large");
	add(kq, noise, EV_CLEAR, ALL);
	add(kq, grown, EV_CLEAR, ALL);
	add(kq, cut, EV_CLEAR, ALL);
	add(kq, linked, EV_CLEAR, ALL);
	add(kq, mode, EV_CLEAR, ALL);
	add(kq, gone, EV_CLEAR, ALL);
	add(kq, same, EV_CLEAR, ALL);
	add(kq, dir, EV_CLEAR, ALL);
	add(kq, removed, EV_CLEAR, ALL);
	for (i = 0; i <= room; i++) {
		/* Unlike its neighbours, so that none are merged. */
		CHECK_EQ(pwrite(noise, "x", 1, 0), 1);
		CHECK_EQ(fchmod(noise, 0640), 0);
	}
	put(grown, 1);
	CHECK_EQ(ftruncate(cut, 2), 0);
	CHECK_EQ(link("l", "d/l"), 0);
	CHECK_EQ(fchmod(mode, 0640), 0);
	CHECK_EQ(unlink("x"), 0);
	CHECK_EQ(rmdir("r"), 0);
	n = kevent(kq, NULL, 0, got, 16, &no_wait);
	for (i = 0; i < n; i++) {
		int fd = (int)got[i].ident;
		unsigned notes = got[i].fflags;
		seen++;
		if (fd == noise)
			CHECK((notes & ~(unsigned)NOTE_ATTRIB) == NOTE_WRITE);
		else if (fd == grown)
			CHECK_EQ(notes, GREW);
		else if (fd == cut)
			CHECK_EQ(notes, CUT);
		else if (fd == linked)
			CHECK_EQ(notes, NOTE_LINK);
		else if (fd == mode)
			CHECK_EQ(notes, NOTE_ATTRIB);
		else if (fd == gone || fd == removed)
			CHECK_EQ(notes, NOTE_DELETE);
		else if (fd == dir)
			CHECK_EQ(notes, NOTE_WRITE);
		else
			FAIL("an event of %d", fd);
	}
	CHECK_EQ(seen, 8);
	EXPECT_QUIET(kq);
	/* All goes on as before. */
	put(gone, 1);
	TELLS(kq, gone, GREW);
	put(same, 1);
	TELLS(kq, same, GREW);
	closed(noise);
	closed(dir);
	closed(grown);
	closed(cut);
	closed(linked);
	closed(mode);
	closed(gone);
	closed(same);
	closed(removed);
	closed(kq);
}

/* A namespace of mounts of its own, for what follows in this process. */
static void
leave_mounts(void)
{
	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0)
		SKIP("no mount namespace is allowed here");
}

ON_DISK(without_proc_files_are_looked_at)
{
	int kq, fd = make("f", 0);
	IN_CHILD({
		leave_mounts();
		if (mount("none", "/proc", "tmpfs", 0, NULL) != 0)
			SKIP("/proc cannot be hidden here");
		kq = new_queue();
		add(kq, fd, EV_CLEAR, ALL);
		expect_none(kq);
		put(fd, 1);
		NOTES_OF(kq, fd, EV_CLEAR, GREW);
		expect_none(kq);
		CHECK_EQ(unlink("f"), 0);
		NOTES_OF(kq, fd, EV_CLEAR, NOTE_DELETE);
		expect_none(kq);
	});
	closed(fd);
}

ON_DISK(file_that_may_not_be_read_is_looked_at)
{
	int kq, fd = make("f", 0), dir = make_directory("d");
	if (getuid() != 0)
		SKIP("another user's file is needed");
	IN_CHILD({
		CHECK_EQ(fchmod(dir, 0777), 0);
		CHECK_EQ(fchmod(fd, 0), 0);
		CHECK_EQ(setuid(65534), 0);
		kq = new_queue();
		add(kq, fd, EV_CLEAR, ALL);
		expect_none(kq);
		put(fd, 1);
		NOTES_OF(kq, fd, EV_CLEAR, GREW);
		expect_none(kq);
	});
	closed(dir);
	closed(fd);
}

/* The parent may not be listed, so nothing tells of the removal. */
ON_DISK(directory_whose_parent_may_not_be_read_is_looked_at)
{
	int kq, dir;
	if (getuid() != 0)
		SKIP("another user's directory is needed");
	CHECK_EQ(mkdir("p", 0711), 0);
	dir = make_directory("p/d");
	CHECK_EQ(fchmod(dir, 0777), 0);
	CHECK_EQ(chmod(".", 0711), 0);
	CHECK_EQ(chmod("p", 0711), 0);
	IN_CHILD({
		int fds[2];
		pid_t pid;
		CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
		pid = fork();
		if (pid == 0) {
			char byte;
			closed(fds[1]);
			CHECK_EQ(read(fds[0], &byte, 1), 0);
			_exit(rmdir("p/d") == 0 ? 0 : 1);
		}
		CHECK_EQ(setuid(65534), 0);
		kq = new_queue();
		add(kq, dir, EV_CLEAR, MOST);
		closed(make("p/d/f", 0));
		NOTES_OF(kq, dir, EV_CLEAR, NOTE_WRITE);
		expect_none(kq);
		CHECK_EQ(unlink("p/d/f"), 0);
		NOTES_OF(kq, dir, EV_CLEAR, NOTE_WRITE);
		expect_none(kq);
		closed(fds[0]);
		closed(fds[1]);
		NOTES_OF(kq, dir, EV_CLEAR, NOTE_DELETE);
		expect_none(kq);
		wait_child(pid);
	});
	closed(dir);
}

/* From then on: there is no event to tell the queue so but that of the move. */
ON_DISK(directory_moved_to_where_it_may_not_be_watched_is_looked_at)
{
	int kq, dir;
	if (getuid() != 0)
		SKIP("another user's directory is needed");
	CHECK_EQ(mkdir("p", 0711), 0);
	dir = make_directory("d");
	CHECK_EQ(fchmod(dir, 0777), 0);
	CHECK_EQ(chmod(".", 0755), 0);
	CHECK_EQ(chmod("p", 0711), 0);
	IN_CHILD({
		int fds[2];
		pid_t pid;
		char byte;
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
		    0);
		pid = fork();
		if (pid == 0) {
			closed(fds[1]);
			CHECK_EQ(read(fds[0], &byte, 1), 1);
			CHECK_EQ(rename("d", "p/d"), 0);
			CHECK_EQ(write(fds[0], "x", 1), 1);
			CHECK_EQ(read(fds[0], &byte, 1), 0);
			_exit(rmdir("p/d") == 0 ? 0 : 1);
		}
		closed(fds[0]);
		CHECK_EQ(setuid(65534), 0);
		kq = new_queue();
		add(kq, dir, EV_CLEAR, NOTE_DELETE);
		CHECK_EQ(write(fds[1], "x", 1), 1);
		CHECK_EQ(read(fds[1], &byte, 1), 1);
		expect_none(kq);
		closed(fds[1]);
		NOTES_OF(kq, dir, EV_CLEAR, NOTE_DELETE);
		expect_none(kq);
		wait_child(pid);
	});
	closed(dir);
}

static atomic_int writers_stop;

static void *
write_on(void *arg)
{
	int fd = *(int *)arg;
	/* Not so fast that the kernel's room is always used up. */
	const struct timespec pause = {0, 20000};
	while (!atomic_load(&writers_stop)) {
		CHECK_EQ(write(fd, "x", 1), 1);
		CHECK_EQ(fchmod(fd, 0640), 0);
		nanosleep(&pause, NULL);
	}
	/* The last of all. */
	CHECK_EQ(write(fd, "x", 1), 1);
	return NULL;
}

/*
 * While threads write, one collects and one adds and deletes: whatever is told
 * last must have been told after the last write.
 */
ON_BOTH(threads_change_files_while_one_collects)
{
	enum { WRITERS = 3 };
	pthread_t threads[WRITERS];
	int fds[WRITERS], kq = new_queue(), i, rounds;
	char name[8];
	off_t seen[WRITERS] = {0};
	struct stat st;
	struct kevent got[4];
	for (i = 0; i < WRITERS; i++) {
		snprintf(name, sizeof name, "f%d", i);
		fds[i] = make(name, 0);
		add(kq, fds[i], EV_CLEAR, ALL);
		CHECK_EQ(pthread_create(&threads[i], NULL, write_on, &fds[i]),
		    0);
	}
	for (rounds = 0; rounds < 100; rounds++) {
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		int again = rounds % WRITERS, j, n;
		n = kevent(kq, NULL, 0, got, 4, &ts);
		CHECK(n > 0);
		for (j = 0; j < n; j++) {
			for (i = 0; fds[i] != (int)got[j].ident; i++)
				CHECK(i < WRITERS);
			CHECK((got[j].fflags & (NOTE_WRITE | NOTE_ATTRIB)) != 0);
			CHECK((got[j].fflags & NOTE_TRUNCATE) == 0);
		}
		if (rounds % 10 == 0) {
			CHANGE(kq, (uintptr_t)fds[again], EVFILT_VNODE,
			    EV_DELETE, 0, 0, NULL);
			add(kq, fds[again], EV_CLEAR, ALL);
		}
	}
	atomic_store(&writers_stop, 1);
	for (i = 0; i < WRITERS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	for (;;) {
		int j, n = kevent(kq, NULL, 0, got, 4, &no_wait);
		if (n == 0)
			break;
		for (j = 0; j < n; j++)
			for (i = 0; i < WRITERS; i++)
				if (fds[i] == (int)got[j].ident &&
				    got[j].fflags & NOTE_WRITE) {
					CHECK_EQ(fstat(fds[i], &st), 0);
					seen[i] = st.st_size;
				}
	}
	for (i = 0; i < WRITERS; i++) {
		CHECK_EQ(fstat(fds[i], &st), 0);
		CHECK_EQ(seen[i], st.st_size);
		closed(fds[i]);
	}
	closed(kq);
}

/* Threads of many queues that share an instance, each with its own file. */
struct ponger {
	pthread_t thread;
	int kq, fd, rounds;
	atomic_int seen;
};

static void *
pong(void *arg)
{
	struct ponger *p = arg;
	int i;
	for (i = 0; i < p->rounds; i++) {
		struct kevent got;
		struct timespec ts = ms_to_ts(GENEROUS_MS);
		CHECK_EQ(kevent(p->kq, NULL, 0, &got, 1, &ts), 1);
		CHECK_EQ(got.fflags, GREW);
		atomic_fetch_add(&p->seen, 1);
	}
	return NULL;
}

ON_DISK(queues_that_share_an_instance_lose_nothing)
{
	enum { PONGERS = 6, ROUNDS = 200 };
	static struct crowd c;
	static struct ponger p[PONGERS];
	int i, round;
	gather(&c);
	for (i = 0; i < PONGERS; i++) {
		p[i].kq = c.kq[200 + i];
		p[i].fd = c.fd[200 + i];
		p[i].rounds = ROUNDS;
		CHECK_EQ(pthread_create(&p[i].thread, NULL, pong, &p[i]), 0);
	}
	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < PONGERS; i++)
			put(p[i].fd, 1);
		for (i = 0; i < PONGERS; i++)
			WAIT_FOR(atomic_load(&p[i].seen) > round);
	}
	for (i = 0; i < PONGERS; i++) {
		CHECK_EQ(pthread_join(p[i].thread, NULL), 0);
		EXPECT_QUIET(p[i].kq);
	}
	disperse(&c);
}

/* --- cancellation ---------------------------------------------------------- */

static void *
collect_for_ever(void *arg)
{
	struct kevent got;
	struct timespec ts = ms_to_ts(1);
	for (;;)
		(void)kevent(*(int *)arg, NULL, 0, &got, 1, &ts);
	return NULL;
}

/* Wherever a thread ends, it must not take the queue's lock with it. */
ON_DISK(cancelled_threads_leave_the_queue_usable)
{
	int i, round, kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, ALL);
	for (round = 0; round < 300; round++) {
		pthread_t thread;
		CHECK_EQ(pthread_create(&thread, NULL, collect_for_ever, &kq),
		    0);
		for (i = 0; i < round % 40; i++)
			put(fd, 1);
		CHECK_EQ(pthread_cancel(thread), 0);
		put(fd, 1);
		CHECK_EQ(pthread_join(thread, NULL), 0);
		CHECK_EQ(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ADD, ALL,
		    0, UDATA(fd)), 0);
	}
	(void)change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE, 0, 0, NULL);
	EXPECT_QUIET(kq);
	closed(fd);
	closed(kq);
}

static void *
add_while_cancelled(void *arg)
{
	int *numbers = arg;
	int old;
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	/* A call that collects nothing is no cancellation point. */
	add(numbers[0], numbers[1], EV_CLEAR, ALL);
	add(numbers[0], numbers[1], 0, NOTE_WRITE);
	CHANGE(numbers[0], (uintptr_t)numbers[1], EVFILT_VNODE, EV_DELETE, 0,
	    0, NULL);
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old), 0);
	numbers[2] = 1;
	return NULL;
}

ON_DISK(changes_are_applied_by_a_cancelled_thread)
{
	int numbers[3] = {new_queue(), make("f", 0), 0};
	pthread_t thread;
	/* It is met and found out on the way. */
	(void)limit_inotify("instances", 0);
	CHECK_EQ(pthread_create(&thread, NULL, add_while_cancelled, numbers),
	    0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(numbers[2], 1);
	CHECK_FAILS(change(numbers[0], (uintptr_t)numbers[1], EVFILT_VNODE,
	    EV_DELETE, 0, 0, NULL), ENOENT);
	closed(numbers[1]);
	closed(numbers[0]);
}

ON_DISK(stores_through_a_mapping_are_silent)
{
	int kq = new_queue(), fd = make("f", 4096);
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
	    0);
	CHECK(page != MAP_FAILED);
	add(kq, fd, EV_CLEAR, ALL);
	page[7] = 'x';
	CHECK_EQ(msync(page, 4096, MS_SYNC), 0);
	EXPECT_QUIET(kq);
	CHECK_EQ(munmap(page, 4096), 0);
	closed(fd);
	closed(kq);
}

/* --- fork ------------------------------------------------------------------ */

ON_DISK(forked_child_leaves_the_parents_knotes_alone)
{
	int kq = new_queue(), fd = make("f", 0);
	add(kq, fd, EV_CLEAR, ALL);
	IN_CHILD({
		int own, other;
		CHECK_FAILS(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_DELETE,
		    0, 0, NULL), EBADF);
		other = make("g", 0);
		own = new_queue();
		add(own, other, EV_CLEAR, ALL);
		put(other, 1);
		TELLS(own, other, GREW);
		closed(other);
		closed(own);
	});
	put(fd, 1);
	TELLS(kq, fd, GREW);
	closed(fd);
	closed(kq);
}

ON_DISK(forked_child_has_nothing_of_a_shared_instance)
{
	static struct crowd c;
	int i;
	gather(&c);
	IN_CHILD({
		static char left[65536];
		int own, other = make("other", 0);
		for (i = 0; i < CROWD; i++)
			closed(c.fd[i]);
		/* 0, 1, 2 and the new file, and whatever the harness has. */
		open_descriptors(left, sizeof left);
		CHECK(count_fields(left) < 16);
		own = new_queue();
		add(own, other, EV_CLEAR, ALL);
		put(other, 1);
		NOTES_OF(own, other, EV_CLEAR, GREW);
		expect_none(own);
		closed(other);
		closed(own);
	});
	for (i = 0; i < CROWD; i++)
		put(c.fd[i], 1);
	for (i = 0; i < CROWD; i++)
		TELLS(c.kq[i], c.fd[i], GREW);
	disperse(&c);
}
