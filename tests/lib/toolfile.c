#include "config.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/toolfile.h"
#include "common/banned.h"

void toolfile_init(struct toolfile *f)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->dir, sizeof(f->dir), "/tmp/mcp-tools-XXXXXX");
	if (!mkdtemp(f->dir))
		fail_msg("no scratch directory");
	buf_init(&f->complaints, 65536);
}

void toolfile_write(struct toolfile *f, const char *name, const char *text, unsigned mode)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	file = fopen(path, "we");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0 || chmod(path, mode) != 0)
		fail_msg("%s can't be written", path);
}

/* The scratch directory's name is different each time. */
static void on_complaint(void *arg, const char *line)
{
	struct toolfile *f = arg;
	size_t len = strlen(f->dir);

	for (; *line; line++) {
		if (strncmp(line, f->dir, len) == 0) {
			line += len - 1;
			buf_adds(&f->complaints, "DIR");
		} else {
			buf_add(&f->complaints, line, 1);
		}
	}
	buf_adds(&f->complaints, "\n");
}

static void unload(struct toolfile *f)
{
	if (!f->is_loaded)
		return;
	toolset_release(&f->set);
	resourceset_release(&f->resources);
	promptset_release(&f->prompts);
	cfg_release(&f->cfg);
}

int toolfile_load(struct toolfile *f, const char *text, struct err *err)
{
	char path[256];

	toolfile_write(f, "mcp.json", text, 0600);
	snprintf(path, sizeof(path), "%s/mcp.json", f->dir);
	unload(f);
	f->is_loaded = true;
	if (cfg_init(&f->cfg, err))
		return -1;
	f->cfg.complain = on_complaint;
	f->cfg.complain_arg = f;
	buf_clear(&f->complaints);
	if (cfg_load(&f->cfg, path, NULL, 0, err))
		return -1;
	return toolset_init(&f->set, &f->cfg, err) | resourceset_init(&f->resources, &f->cfg, err) |
	       promptset_init(&f->prompts, &f->cfg, err);
}

void toolfile_check_complaints(struct toolfile *f, const struct toolfile_complaint *complaints, size_t count,
    bool (*is_wanted)(const char *got, const char *want))
{
	int failures = 0;

	for (size_t i = 0; i < count; i++) {
		struct err err = {0};
		int ret = toolfile_load(f, complaints[i].text, &err);
		const char *got = f->complaints.data ? f->complaints.data : "", *want = complaints[i].want;
		bool is_fine = is_wanted ? is_wanted(got, want) : strcmp(got, want) == 0;

		if (ret == 0 || err.code != ERR_CONFIG || !is_fine) {
			print_message("# %s\n# %d %s\n# got  %s# want %s", complaints[i].text, ret, err.msg, got, want);
			failures++;
		}
	}
	assert_int_equal(failures, 0);
}

static void remove_all(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char below[600];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		if (unlink(below) == -1)
			remove_all(below);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

void toolfile_release(struct toolfile *f)
{
	unload(f);
	buf_release(&f->complaints);
	remove_all(f->dir);
}
