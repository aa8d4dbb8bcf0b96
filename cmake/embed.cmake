# cmake -DINPUT=page.html -DOUTPUT=page.c -DHEADER=ui_page.h -DNAME=ui_page -P embed.cmake: a file as a C array.
file(READ ${INPUT} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(................................................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"\nconst char ${NAME}[] = {${bytes}};\nconst size_t ${NAME}_size = ${size};\n")
