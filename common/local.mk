# common/: what worker and broker both speak; includes nothing from its users
noinst_LIBRARIES += libcommon.a
libcommon_a_SOURCES = \
	%D%/ascii.h \
	%D%/banned.h \
	%D%/base64.c %D%/base64.h \
	%D%/bucket.c %D%/bucket.h \
	%D%/buf.c %D%/buf.h \
	%D%/cfg.c %D%/cfg.h %D%/cfg_priv.h %D%/cfg_tbl.h \
	%D%/cfg_complain.c \
	%D%/daemon.c %D%/daemon.h \
	%D%/err.c %D%/err.h %D%/err_tbl.h \
	%D%/histogram.h \
	%D%/http_head.c %D%/http_head.h \
	%D%/jpos.c %D%/jpos.h \
	%D%/jx.c %D%/jx.h %D%/jx_plain.h %D%/jx_read.c \
	%D%/link.c %D%/link.h %D%/link_tbl.h \
	%D%/log.c %D%/log.h \
	%D%/mem.c %D%/mem.h \
	%D%/opts.c %D%/opts.h \
	%D%/rnd.c %D%/rnd.h \
	%D%/source.c %D%/source.h \
	%D%/sse.c %D%/sse.h \
	%D%/utf8.c %D%/utf8.h \
	%D%/util.h
