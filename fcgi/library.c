#include "config.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "fcgi/library.h"
#include "common/banned.h"

static int fill(const struct library *l, void *handle)
{
	for (size_t i = 0; l->names[i]; i++) {
		void *function = dlsym(handle, l->names[i]);

		if (!function)
			return -1;
		memcpy((char *)l->functions + i * sizeof(function), &function, sizeof(function));
	}
	return 0;
}

int library_open(struct library *l, struct err *err)
{
	static pthread_mutex_t mtx = PTHREAD_MUTEX_INITIALIZER;
	void *handle;
	int ret;

	pthread_mutex_lock(&mtx);
	if (!l->is_open) {
		handle = dlopen(l->name, RTLD_LAZY | RTLD_LOCAL);
		l->is_open = handle && fill(l, handle) == 0;
		if (!l->is_open)
			err_set(err, ERR_CONFIG, "%s", dlerror());
		if (handle && !l->is_open)
			dlclose(handle);
	}
	ret = l->is_open ? 0 : -1;
	pthread_mutex_unlock(&mtx);
	return ret;
}
