# doc/: for those who want to know why
dist_doc_DATA =
dist_doc_DATA += %D%/clients.md
dist_doc_DATA += %D%/connect.md
dist_doc_DATA += %D%/console.png
dist_doc_DATA += %D%/decisions.md
dist_doc_DATA += %D%/link.md
dist_doc_DATA += %D%/performance.md
dist_doc_DATA += %D%/performance.svg
dist_doc_DATA += %D%/proxies.md
dist_doc_DATA += %D%/store.md
dist_doc_DATA += %D%/threat-model.md
dist_doc_DATA += %D%/tools.md
dist_doc_DATA += %D%/troubleshooting.md
