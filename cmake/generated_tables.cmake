# Keeps the tables of docs/operations.md equal to the program's.
#
# cmake -DPROGRAM=build/promsplit -DDOCUMENT=docs/operations.md [-DWRITE=ON] -P generated_tables.cmake
#
# Between "<!-- flags: generated -->" and "<!-- flags: end -->" (and the same for metrics) stands what
# `promsplit generate flags` prints. Without WRITE a difference is an error.
file(READ ${DOCUMENT} old)
set(new "${old}")
foreach(table flags metrics)
  execute_process(COMMAND ${PROGRAM} generate ${table} OUTPUT_VARIABLE rows RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${PROGRAM} generate ${table} failed")
  endif()
  set(begin "<!-- ${table}: generated -->\n")
  set(end "<!-- ${table}: end -->")
  string(FIND "${new}" "${begin}" from)
  string(FIND "${new}" "${end}" to)
  if(from EQUAL -1 OR to LESS from)
    message(FATAL_ERROR "${DOCUMENT} has no place for the table of ${table}")
  endif()
  string(LENGTH "${begin}" length)
  math(EXPR from "${from} + ${length}")
  string(SUBSTRING "${new}" 0 ${from} before)
  string(SUBSTRING "${new}" ${to} -1 after)
  set(new "${before}${rows}${after}")
endforeach()
if(new STREQUAL old)
  return()
endif()
if(NOT WRITE)
  message(FATAL_ERROR "${DOCUMENT} differs from the program's flags or metrics; build the target docs to renew it")
endif()
file(WRITE ${DOCUMENT} "${new}")
